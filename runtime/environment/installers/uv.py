"""uv as the installer: it resolves fast, links packages out of its cache, and reads every kind of lock."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

from isopod.ipc.errors import EnvironmentBuildError
from isopod.runtime.environment import lock as lock_files
from isopod.runtime.environment.lock import Lock
from isopod.runtime.environment.plan import Plan, write_list
from isopod.runtime.environment.sources import resolver_environment

from .work import Work

_VENV_SECONDS = 60.0
_EXPORT_SECONDS = 60.0
_NO_WHEEL = re.compile(r"Wheels are required for `([^`]+)`")
_OFFLINE = "network was disabled"


class Uv:
    """See ``Installer``."""

    def make_venv(self, work: Work) -> None:
        # relocatable, for it is renamed when it is complete
        command = [binary(), "venv", "--quiet", "--relocatable", "--python", str(work.plan.interpreter.executable)]
        environment = resolver_environment(work.plan.sources)
        work.steps.run("making the virtual environment", [*command, str(work.venv)], environment, _VENV_SECONDS)

    def install(self, work: Work) -> None:
        command = [binary(), "pip", "install", "--python", str(work.venv / "bin" / "python")]
        command += source_options(work.plan)
        if work.plan.lock is not None:
            command += _locked(work, work.plan.lock)
        else:
            file, options = write_requirements(work.plan, work.inputs)
            command += ["-r", file, *options]
        # no deadline: uv bounds each request itself (UV_HTTP_TIMEOUT); a framework may take an hour on a slow line
        work.steps.run("installing the packages", command, resolver_environment(work.plan.sources), None)

    def remedies(self, plan: Plan, said: str) -> list[str]:
        lines = []
        if _OFFLINE in said:
            lines.append("isopod is offline (ISOPOD_OFFLINE or UV_OFFLINE): build it once with a network, or bring a")
            lines.append("store in which it is (ISOPOD_STORES)")
        no_wheel = sorted(set(_NO_WHEEL.findall(said)) - set(plan.from_source))
        if no_wheel:
            how = f"Env(from_source={no_wheel}), or allow_source=True for any"
            lines.append(f"to let them be built from source, which runs their code here: {how}")
        return lines


def _locked(work: Work, lock: Lock) -> list[str]:
    """A lock is read where it lies: the paths in it are relative to its folder."""
    if lock.kind == "hashes":
        return ["--require-hashes", "-r", str(lock.path)]
    if lock.kind == "pylock":
        return ["-r", str(lock.path)]
    return ["-r", str(export(work, lock))]


def export(work: Work, lock: Lock, *, form: str = "pylock.toml") -> Path:
    """Write uv's own lock in a form that installers read. "uv sync" would make its own environment and install the
    project. Raises ``SpecError`` for one that leads to a folder."""
    # by its real path: uv writes paths relative to it by their names, and follows them through links
    exported = Path(os.path.realpath(work.inputs)) / {"pylock.toml": "pylock.toml"}.get(form, "exported.txt")
    command = [binary(), "export", "--quiet", "--project", str(lock.path.parent), "--frozen", "--no-emit-project"]
    command += ["--no-default-groups", "--format", form, "--no-header", "-o", str(exported)]
    command += ["--python", str(work.plan.interpreter.executable)]
    work.steps.run("reading the lock", command, resolver_environment(work.plan.sources), _EXPORT_SECONDS)
    if form == "pylock.toml":
        lock_files.check_exported(lock.path, exported)
    return exported


def source_options(plan: Plan) -> list[str]:
    """What the resolver may take: wheels only, unless the user says otherwise, and from which places."""
    words = [] if plan.allow_source else ["--only-binary", ":all:"]
    for package in plan.from_source:
        words += ["--no-binary", package]
    return [*words, "--no-index"] if plan.sources.no_index else words


def write_requirements(plan: Plan, folder: Path) -> tuple[str, list[str]]:
    """(the file of requirements, options that name those of constraints and overrides)"""
    words = []
    for option, texts, variable in (
        ("--constraint", plan.constraints, "UV_CONSTRAINT"),
        ("--override", plan.overrides, "UV_OVERRIDE"),
    ):
        if texts:
            words += [option, write_list(folder / f"{option.strip('-')}s.txt", texts)]
            # an option hides its variable: what that names is given beside ours
            for file in plan.sources.variables.get(variable, "").split():
                words += [option, file]
    return write_list(folder / "requirements.txt", plan.wanted.requirements), words


# Before Python 3.12, sysconfig (which uv asks) hands a half-filled table to the second of two threads that come first.
_finding = threading.Lock()


def _unlock_after_fork() -> None:
    """In a forked copy of the process there is no thread that could still release it."""
    global _finding
    _finding = threading.Lock()


os.register_at_fork(after_in_child=_unlock_after_fork)


def binary() -> str:
    """The path of uv's program. Raises ``EnvironmentBuildError`` where it is not installed."""
    try:
        import uv  # the package holds the program for one platform; where there is none, it cannot be installed

        with _finding:
            return os.fspath(uv.find_uv_bin())
    except (ImportError, FileNotFoundError) as error:
        raise EnvironmentBuildError(
            f"uv, which builds environments, is not installed beside isopod: {error}"
        ) from error
