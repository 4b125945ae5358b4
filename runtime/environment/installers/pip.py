"""pip as the installer: for whom uv will not do, and where it does not run.

No pip is installed anywhere. The newest one that the environment's Python can run is taken from where it lies: the
application's own, or the wheel that every Python carries in ``ensurepip``. It runs on the environment's Python, and so
installs into it.

What pip and ``venv`` write names the staging folder: in the first lines of scripts and in ``pyvenv.cfg``. Neither
survives the rename, so scripts are made to look for the Python beside them, as uv writes them.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.util
import io
import os
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from isopod.ipc.errors import EnvironmentBuildError, SpecError
from isopod.runtime.environment.interpreter import Interpreter, clean_environment
from isopod.runtime.environment.lock import Lock
from isopod.runtime.environment.plan import Plan, write_list

from . import uv
from .pipvars import pip_environment, refuse_what_pip_cannot
from .work import Work

_VENV_SECONDS = 60.0
_UPLOADED_PRIOR_TO = Version("26.0")  # the first that has the option
_PYLOCK = Version("26.1")
_RAW_PROGRESS = Version("24.1")
_WHEEL = re.compile(r"pip-(\d[^-]*)-py3-none-any\.whl")
_NO_MATCH = re.compile(r"No matching distribution found for ([^\s;\[<>=!~(]+)")
# Without the scripts to activate it, which would name the staging folder: a worker needs none.
_VENV = """\
import sys, venv
class Bare(venv.EnvBuilder):
    def setup_scripts(self, context):
        pass
Bare(symlinks=True).create(sys.argv[1])
"""
# Shell and Python both read this: the shell finds the Python beside the script, for which the rest is a string.
_BESIDE = b"""#!/bin/sh
'''exec' "$(dirname -- "$(realpath -- "$0")")"/'python' "$0" "$@"
' '''
"""
_LONG = re.compile(rb"#!/bin/sh\n'''exec' .*\n' '''\n")  # how pip writes it where the path of the Python is long
_SHORT = re.compile(rb"#!.*\n")


@dataclass(frozen=True)
class _Found:
    """A pip that lies somewhere: ``program`` is what a Python is to run."""

    version: Version
    program: Path


class Pip:
    """See ``Installer``."""

    def make_venv(self, work: Work) -> None:
        refuse_what_pip_cannot(work.plan)
        command = [str(work.plan.interpreter.executable), "-I", "-c", _VENV, str(work.venv)]
        work.steps.run("making the virtual environment", command, clean_environment(), _VENV_SECONDS)
        settings = work.venv / "pyvenv.cfg"
        lines = settings.read_text(encoding="utf-8").splitlines(keepends=True)
        # how it was made, which names a folder that is soon renamed
        settings.write_text("".join(line for line in lines if not line.startswith("command ")), encoding="utf-8")

    def install(self, work: Work) -> None:
        plan, environment = work.plan, pip_environment(work.plan)
        found = _newest(plan.interpreter)
        if "PIP_UPLOADED_PRIOR_TO" in environment and found.version < _UPLOADED_PRIOR_TO:
            raise SpecError(f"exclude_newer needs pip {_UPLOADED_PRIOR_TO}, {_remedy(found, plan.interpreter)}")
        # what a killed build leaves is cleared with its folder
        environment["TMPDIR"] = str(work.inputs)
        command = [str(work.venv / "bin" / "python"), "-I", str(found.program), "install"]
        # "ignore": nothing that pip sees beside itself is a package of this environment
        command += ["--ignore-installed", "--no-compile", "--no-warn-script-location", "--no-warn-conflicts"]
        command += ["--progress-bar", "raw" if found.version >= _RAW_PROGRESS else "off"]
        command += [] if plan.allow_source else ["--only-binary", ":all:"]
        for package in plan.from_source:
            command += ["--no-binary", package]
        if plan.lock is not None:
            command += _locked(work, plan.lock, found)
        else:
            command += ["-r", write_list(work.inputs / "requirements.txt", plan.wanted.requirements)]
            constraints = environment.pop("PIP_CONSTRAINT", "").split()  # an option hides its variable
            if plan.constraints:
                constraints.append(write_list(work.inputs / "constraints.txt", plan.constraints))
            command += [word for file in constraints for word in ("-c", file)]
        # no deadline, as with uv: pip bounds each request itself
        work.steps.run("installing the packages", command, environment, None)
        _make_scripts_relocatable(work.venv, work.site)

    def remedies(self, plan: Plan, said: str) -> list[str]:
        lines = []
        if "No matching distribution" in said and (os.environ.get("ISOPOD_OFFLINE") or os.environ.get("UV_OFFLINE")):
            lines.append("isopod is offline (ISOPOD_OFFLINE or UV_OFFLINE): build it once with a network, or bring a")
            lines.append("store in which it is (ISOPOD_STORES)")
        missing = sorted(set(_NO_MATCH.findall(said)) - set(plan.from_source))
        if missing and not plan.allow_source:
            lines.append(
                "only wheels were looked for; if there is but a source distribution, building it runs its code"
            )
            lines.append(f"here: Env(from_source={missing}), or allow_source=True for any")
        return lines


def _locked(work: Work, lock: Lock, found: _Found) -> list[str]:
    if lock.kind == "hashes":
        return ["--require-hashes", "-r", str(lock.path)]
    if lock.kind == "pylock":
        if found.version < _PYLOCK:
            raise SpecError(f"{lock} needs pip {_PYLOCK}, {_remedy(found, work.plan.interpreter)}")
        return ["-r", str(lock.path)]
    uv.export(work, lock)  # looked at in the form that names folders, and taken in the one that each pip reads
    # pip demands hashes by itself as soon as there is one; what uv locks from a local folder has none
    return ["--no-deps", "-r", str(uv.export(work, lock, form="requirements.txt"))]


def _remedy(found: _Found, interpreter: Interpreter) -> str:
    return (
        f"and the newest here that runs on {interpreter} is {found.version}: install a newer one beside isopod "
        "(pip install -U pip), or use installer='uv'"
    )


def _newest(interpreter: Interpreter) -> _Found:
    """The newest pip that this Python can run."""
    found = [*_of_this_process(interpreter), *_in_ensurepip(interpreter)]
    if not found:
        raise EnvironmentBuildError(
            f"there is no pip for {interpreter}: it carries none (on Debian and Ubuntu, "
            f"'apt install python{interpreter.minor}-venv' brings it), and there is none beside isopod that it can run "
            "('pip install -U pip'); or use installer='uv'"
        )
    return max(found, key=lambda one: one.version)


def _of_this_process(interpreter: Interpreter) -> list[_Found]:
    spec = importlib.util.find_spec("pip")
    try:
        package = metadata.distribution("pip")
    except metadata.PackageNotFoundError:
        return []
    if spec is None or spec.origin is None:
        return []
    # it hides what lies beside pip from it; older pips have none, and see the application's packages
    runner = Path(spec.origin).with_name("__pip-runner__.py")
    runs = SpecifierSet(package.metadata["Requires-Python"] or "").contains(".".join(map(str, interpreter.version)))
    return [_Found(Version(package.version), runner)] if runs and runner.is_file() else []


def _in_ensurepip(interpreter: Interpreter) -> list[_Found]:
    library = interpreter.prefix / "lib" / f"python{interpreter.minor}" / "ensurepip"
    # Debian and Fedora keep the wheels of all their Pythons in one folder, and only with the package of ensurepip
    shared = ("/usr/share/python-wheels", "/usr/share/python3-wheels") if library.is_dir() else ()
    found = []
    for folder in (library / "_bundled", *map(Path, shared)):
        for file in folder.glob("pip-*.whl"):
            match = _WHEEL.fullmatch(file.name)
            if match and (folder.parent == library or interpreter.prefix == Path("/usr")):
                found.append(_Found(Version(match[1]), file / "pip"))  # a Python runs it from within the wheel
    return found


def _make_scripts_relocatable(venv: Path, site: Path) -> None:
    """Let scripts look for the Python beside them, and write their new checksums where their packages keep them."""
    changed: dict[Path, bytes] = {}
    python = str(venv).encode()
    for script in (venv / "bin").iterdir():
        if script.is_symlink() or not script.is_file():
            continue
        content = script.read_bytes()
        head = _LONG.match(content) or _SHORT.match(content)
        if head is not None and python in head[0]:
            changed[script.resolve()] = content = _BESIDE + content[head.end() :]
            script.write_bytes(content)
    for record in site.glob("*.dist-info/RECORD"):
        _record(record, site, changed)


def _record(record: Path, site: Path, changed: dict[Path, bytes]) -> None:
    rows = list(csv.reader(io.StringIO(record.read_text(encoding="utf-8"))))
    touched = False
    for row in rows:
        content = changed.get((site / row[0]).resolve()) if row and row[0].startswith("..") else None
        if content is not None:
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
            row[1:] = [f"sha256={digest}", str(len(content))]
            touched = True
    if touched:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        record.write_text(text.getvalue(), encoding="utf-8")
