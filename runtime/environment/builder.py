"""Build one environment into a staging folder: venv, packages, bytecode. ``prepare`` decides when, ``store`` where.

Every program is run by absolute path and in an environment of its own making. Packages come as wheels only, so that
nothing of them runs here, except what the caller named in ``from_source`` and ``warm``.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TextIO

from isopod.ipc.errors import EnvironmentBuildError

from . import lock as lock_files
from . import warmth
from .events import Reporter
from .interpreter import Interpreter, clean_environment
from .lock import Lock
from .process import run
from .requirements import OURS, Complete
from .sources import Sources, resolver_environment
from .store import LOG, VENV
from .urls import redact

_SHOWN_LINES = 40
_VENV_SECONDS = 60.0
_EXPORT_SECONDS = 60.0
_WARM_SECONDS = 600.0  # for all modules together; a framework takes a few seconds without bytecode
_COMPILE_SECONDS = 120.0
_MARK = "isopod-warm:"
_NO_WHEEL = re.compile(r"Wheels are required for `([^`]+)`")
_OFFLINE = "network was disabled"
# As a worker does it (base interpreter, "-I -S", then the site folders), so that the same bytecode is made. In the
# syntax of Python 3.7. An interpreter started with "-I" ignores PYTHONDONTWRITEBYTECODE.
_WARM = f"""\
import importlib, json, site, sys
prefix, folders, modules = json.loads(sys.argv[1])
sys.prefix = sys.exec_prefix = prefix
site.getusersitepackages()
for folder in folders:
    site.addsitedir(folder)
for module in modules:
    print("{_MARK}" + module, flush=True)
    importlib.import_module(module)
"""


@dataclass(frozen=True)
class Plan:
    """What to build: all that is known before anything runs."""

    interpreter: Interpreter
    wanted: Complete
    sources: Sources
    from_source: tuple[str, ...]
    warm: tuple[str, ...]
    variables: tuple[tuple[str, str], ...]
    constraints: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    lock: Lock | None = None
    allow_source: bool = False
    unset: tuple[str, ...] = ()

    @property
    def wish(self) -> list[str]:
        """What is asked for, in lines fit to be read: no credentials."""
        if self.lock is not None:
            return [f"wanted: {self.lock}"]
        lists = {"wanted": self.wanted.requirements, "constraints": self.constraints, "overrides": self.overrides}
        return [f"{name}: {redact(', '.join(items))}" for name, items in lists.items() if items]


class Build:
    """One build, in one staging folder. ``run`` returns the facts for ``meta.json``."""

    def __init__(self, plan: Plan, uv: str, staging: Path, lock: int, reporter: Reporter) -> None:
        self._plan = plan
        self._uv = uv
        self._lock = lock
        self._reporter = reporter
        self._staging = staging
        self._venv = staging / VENV
        self._site = site_folder(self._venv, plan.interpreter)

    def run(self) -> dict[str, object]:
        """Build. Raises ``EnvironmentBuildError`` with the last lines of whatever failed."""
        began = time.monotonic()
        with (self._staging / LOG).open("w", encoding="utf-8") as log:
            for note in self._plan.sources.notes:
                log.write(f"{note}\n")
            self._make_venv(log)
            self._install(log)
            self._compile_ours(log)
            self._import(log)
        warmth.record(self._staging, self._plan.warm)
        return {
            "python": str(self._plan.interpreter.executable),
            "version": list(self._plan.interpreter.version),
            "requirements": [redact(requirement) for requirement in self._plan.wanted.requirements],
            "constraints": [redact(requirement) for requirement in self._plan.constraints],
            "overrides": [redact(requirement) for requirement in self._plan.overrides],
            "lock": None if self._plan.lock is None else self._plan.lock.identity,
            "sources": list(self._plan.sources.identity),
            "from_source": list(self._plan.from_source),
            "allow_source": self._plan.allow_source,
            "freeze": freeze(self._site),
            "built": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - began, 1),
        }

    def warm(self) -> None:
        """Import the plan's modules in an environment that is built. Raises ``EnvironmentBuildError``, ``OSError``."""
        with (self._staging / LOG).open("a", encoding="utf-8") as log:
            self._import(log)

    def _make_venv(self, log: TextIO) -> None:
        # relocatable, for it is renamed when it is complete
        command = [self._uv, "venv", "--quiet", "--relocatable", "--python", str(self._plan.interpreter.executable)]
        environment = resolver_environment(self._plan.sources)
        self._step("making the virtual environment", [*command, str(self._venv)], environment, log, _VENV_SECONDS)

    def _install(self, log: TextIO) -> None:
        command = [self._uv, "pip", "install", "--python", str(self._venv / "bin" / "python")]
        command += source_options(self._plan)
        environment = resolver_environment(self._plan.sources)
        inputs = self._staging / "inputs"
        inputs.mkdir(mode=0o700)
        try:
            if self._plan.lock is not None:
                command += self._locked(self._plan.lock, inputs, environment, log)
            else:
                self._reporter.tell("resolve", f"resolving {len(self._plan.wanted.requirements)} requirements")
                file, options = write_requirements(self._plan, inputs)
                command += ["-r", file, *options]
            # no deadline: uv bounds each request itself (UV_HTTP_TIMEOUT); a framework may take an hour on a slow line
            self._step("installing the packages", command, environment, log, None)
        finally:
            shutil.rmtree(inputs, ignore_errors=True)
        if self._plan.lock is not None:
            self._check_locked(self._plan.lock)

    def _locked(self, lock: Lock, inputs: Path, environment: dict[str, str], log: TextIO) -> list[str]:
        """A lock is read where it lies: the paths in it are relative to its folder."""
        self._reporter.tell("resolve", f"reading {lock}")
        if lock.kind == "hashes":
            return ["--require-hashes", "-r", str(lock.path)]
        if lock.kind == "pylock":
            return ["-r", str(lock.path)]
        # "uv sync" would make its own environment and install the project: uv's lock goes by way of the standard one
        # by its real path: uv writes paths relative to it by their names, and follows them through links
        exported = Path(os.path.realpath(inputs)) / "pylock.toml"
        command = [self._uv, "export", "--quiet", "--project", str(lock.path.parent), "--frozen", "--no-emit-project"]
        command += ["--no-default-groups", "--format", "pylock.toml", "--no-header", "-o", str(exported)]
        command += ["--python", str(self._plan.interpreter.executable)]
        self._step("reading the lock", command, environment, log, _EXPORT_SECONDS)
        lock_files.check_exported(lock.path, exported)
        return ["-r", str(exported)]

    def _check_locked(self, lock: Lock) -> None:
        """What was installed is what the key stands for, and holds what the worker needs."""
        if lock_files.read(lock.path).identity != lock.identity:
            raise EnvironmentBuildError(f"{lock} changed while it was installed; nothing was kept, try again")
        if not (self._site / OURS).is_dir():
            # in the file, but for other machines, or for a group that is left out
            raise EnvironmentBuildError(
                f"{lock} does not bring {OURS} to {self._plan.interpreter}, and the worker needs it in every "
                f"environment: add {OURS} to what is locked, without a marker or group, and lock again"
            )

    def _compile_ours(self, log: TextIO) -> None:
        """Compile numpy, which every worker imports, without running any of it."""
        package = self._site / OURS
        command = [str(self._plan.interpreter.executable), "-I", "-S", "-m", "compileall", "-q", "-j", "2"]
        command += ["-x", "/(tests|testing|f2py|distutils)/", str(package)]
        if package.is_dir():
            # a file that does not compile (numpy ships none today) is no reason to refuse the rest
            environment = clean_environment()
            self._step("compiling numpy", command, environment, log, _COMPILE_SECONDS, must_succeed=False)

    def _import(self, log: TextIO) -> None:
        if not self._plan.warm:
            return
        facts = json.dumps([str(self._venv), [str(self._site)], self._plan.warm])
        command = [str(self._plan.interpreter.executable), "-I", "-S", "-c", _WARM, facts]
        # the run-time variables are no part of the key, but without them (LD_LIBRARY_PATH) an import may fail
        theirs = {name: value for name, value in self._plan.variables if not name.startswith("PYTHON")}
        environment = clean_environment(**theirs)
        for name in self._plan.unset:
            environment.pop(name, None)
        self._step(f"importing {', '.join(self._plan.warm)}", command, environment, log, _WARM_SECONDS)
        self._reporter.tell("warm", "imported", len(self._plan.warm), len(self._plan.warm))

    def _step(
        self,
        what: str,
        command: Sequence[str],
        environment: dict[str, str],
        log: TextIO,
        seconds: float | None,
        *,
        must_succeed: bool = True,
    ) -> None:
        tail: deque[str] = deque(maxlen=_SHOWN_LINES)

        def line(text: str) -> None:
            shown = self._shown(text)
            module = shown.removeprefix(_MARK)
            if module != shown and module in self._plan.warm:
                self._reporter.tell("warm", f"import {module}", self._plan.warm.index(module), len(self._plan.warm))
                return
            tail.append(shown)
            log.write(f"{shown}\n")
            self._reporter.read(shown)

        log.write(f"$ {self._gist(command)}\n")
        try:
            ended = run(command, environment=environment, lock=self._lock, line=line, seconds=seconds)
        except OSError as error:
            raise EnvironmentBuildError(f"{what} failed: {command[0]} cannot be run: {error}") from error
        if ended.timed_out:
            tail.append(f"it took longer than {seconds:.0f} s and was ended")
        if must_succeed and (ended.code != 0 or ended.timed_out):
            raise EnvironmentBuildError(self._failure(what, command, ended.code, tail))

    def _failure(self, what: str, command: Sequence[str], code: int, tail: Sequence[str]) -> str:
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        lines = [f"{what} failed ({how}) on {self._plan.interpreter}", *(f"  {text}" for text in self._plan.wish)]
        if self._plan.wanted.added:
            lines.append(f"  of these, {OURS!r} was added by isopod: the worker needs it in every environment")
        lines.append(f"  command: {self._gist(command)}")
        sources = [item for item in self._plan.sources.identity if item != "no-index=False"]
        lines += [f"  packages from: {item}" for item in sources]
        lines += [f"  {text}" for text in (*self._plan.sources.notes, *tail)]
        if _OFFLINE in "\n".join(tail):
            lines.append("  isopod is offline (ISOPOD_OFFLINE or UV_OFFLINE): build it once with a network, or bring a")
            lines.append("  store in which it is (ISOPOD_STORES)")
        no_wheel = sorted(set(_NO_WHEEL.findall("\n".join(tail))) - set(self._plan.from_source))
        if no_wheel:
            how = f"Env(from_source={no_wheel}), or allow_source=True for any"
            lines.append(f"  to let them be built from source, which runs their code here: {how}")
        return "\n".join(lines)

    def _gist(self, command: Sequence[str]) -> str:
        """A command fit to be read: program by name, no program text, no folder that is soon renamed or gone."""
        shown = [os.path.basename(command[0]), *command[1:]]
        if "-c" in shown:
            shown = [*shown[: shown.index("-c")], "-c", "…"]
        return shlex.join(self._shown(word) for word in shown)

    def _shown(self, text: str) -> str:
        shown = redact(text)
        for staging in (self._staging, os.path.realpath(self._staging)):
            shown = shown.replace(f"{staging}/", "")
        return shown


def source_options(plan: Plan) -> list[str]:
    """What the resolver may take: wheels only, unless the user says otherwise, and from which places."""
    words = [] if plan.allow_source else ["--only-binary", ":all:"]
    for package in plan.from_source:
        words += ["--no-binary", package]
    return [*words, "--no-index"] if plan.sources.no_index else words


def write_requirements(plan: Plan, folder: Path) -> tuple[str, list[str]]:
    """(the file of requirements, options that name those of constraints and overrides)

    In files, for a URL among them may hold a password, and anybody can read a command line.
    """
    words = []
    for option, texts, variable in (
        ("--constraint", plan.constraints, "UV_CONSTRAINT"),
        ("--override", plan.overrides, "UV_OVERRIDE"),
    ):
        if texts:
            words += [option, _write(folder / f"{option.strip('-')}s.txt", texts)]
            # an option hides its variable: what that names is given beside ours
            for file in plan.sources.variables.get(variable, "").split():
                words += [option, file]
    return _write(folder / "requirements.txt", plan.wanted.requirements), words


def _write(file: Path, requirements: Sequence[str]) -> str:
    file.write_text("\n".join(requirements) + "\n", encoding="utf-8")
    return str(file)


def site_folder(prefix: Path, interpreter: Interpreter) -> Path:
    """Return the one folder that packages are installed into in an environment of ours."""
    return prefix / "lib" / f"python{interpreter.minor}" / "site-packages"


def freeze(site: Path) -> list[str]:
    """Return ``name==version`` of everything installed, sorted."""
    from importlib import metadata  # as slow to import as all the rest here, and only a build needs it

    found = metadata.distributions(path=[str(site)])
    return sorted({f"{item.metadata['Name']}=={item.version}" for item in found}, key=str.lower)
