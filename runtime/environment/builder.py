"""Build one environment into a staging folder: venv, packages, bytecode. ``prepare`` decides when, ``store`` where.

The order of the steps and what is checked after them is here; the venv and the packages are the installer's work.
Packages come as wheels only, so that nothing of them runs here, except what the caller named in ``from_source`` and
``warm``.
"""

from __future__ import annotations

import json
import shutil
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TextIO

from isopod.ipc.errors import EnvironmentBuildError

from . import lock as lock_files
from . import warmth
from .events import Reporter
from .installers import Work, installer
from .interpreter import clean_environment
from .lock import Lock
from .plan import Plan, site_folder
from .requirements import OURS
from .steps import Steps
from .store import LOG, VENV
from .urls import redact

_WARM_SECONDS = 600.0  # for all modules together; a framework takes a few seconds without bytecode
_COMPILE_SECONDS = 120.0
_MARK = "isopod-warm:"
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


class Build:
    """One build, in one staging folder. ``run`` returns the facts for ``meta.json``."""

    def __init__(self, plan: Plan, staging: Path, lock: int, reporter: Reporter) -> None:
        self._plan = plan
        self._installer = installer(plan.installer)
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
            steps = self._steps(log)
            self._install(steps)
            self._compile_ours(steps)
            self._import(steps)
        warmth.record(self._staging, self._plan.warm)
        return {
            "python": str(self._plan.interpreter.executable),
            "version": list(self._plan.interpreter.version),
            "installer": self._plan.installer,
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
            self._import(self._steps(log))

    def _steps(self, log: TextIO) -> Steps:
        remedies = self._installer.remedies
        return Steps(self._plan, self._staging, lock=self._lock, log=log, line=self._heard, remedies=remedies)

    def _install(self, steps: Steps) -> None:
        inputs = self._staging / "inputs"
        inputs.mkdir(mode=0o700)
        try:
            work = Work(self._plan, self._venv, self._site, inputs, steps)
            self._installer.make_venv(work)
            wanted = self._plan.lock or f"{len(self._plan.wanted.requirements)} requirements"
            self._reporter.tell("resolve", f"{'reading' if self._plan.lock else 'resolving'} {wanted}")
            self._installer.install(work)
        finally:
            shutil.rmtree(inputs, ignore_errors=True)
        if self._plan.lock is not None:
            self._check_locked(self._plan.lock)

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

    def _compile_ours(self, steps: Steps) -> None:
        """Compile numpy, which every worker imports, without running any of it."""
        package = self._site / OURS
        command = [str(self._plan.interpreter.executable), "-I", "-S", "-m", "compileall", "-q", "-j", "2"]
        command += ["-x", "/(tests|testing|f2py|distutils)/", str(package)]
        if package.is_dir():
            # a file that does not compile (numpy ships none today) is no reason to refuse the rest
            steps.run("compiling numpy", command, clean_environment(), _COMPILE_SECONDS, must_succeed=False)

    def _import(self, steps: Steps) -> None:
        if not self._plan.warm:
            return
        facts = json.dumps([str(self._venv), [str(self._site)], self._plan.warm])
        command = [str(self._plan.interpreter.executable), "-I", "-S", "-c", _WARM, facts]
        # the run-time variables are no part of the key, but without them (LD_LIBRARY_PATH) an import may fail
        theirs = {name: value for name, value in self._plan.variables if not name.startswith("PYTHON")}
        environment = clean_environment(**theirs)
        for name in self._plan.unset:
            environment.pop(name, None)
        steps.run(f"importing {', '.join(self._plan.warm)}", command, environment, _WARM_SECONDS)
        self._reporter.tell("warm", "imported", len(self._plan.warm), len(self._plan.warm))

    def _heard(self, line: str) -> bool:
        """Tell what a line of a program means; True if it says nothing else, and need not be kept."""
        module = line.removeprefix(_MARK)
        if module != line and module in self._plan.warm:
            self._reporter.tell("warm", f"import {module}", self._plan.warm.index(module), len(self._plan.warm))
            return True
        return self._reporter.read(line)


def freeze(site: Path) -> list[str]:
    """Return ``name==version`` of everything installed, sorted."""
    from importlib import metadata  # as slow to import as all the rest here, and only a build needs it

    found = metadata.distributions(path=[str(site)])
    return sorted({f"{item.metadata['Name']}=={item.version}" for item in found}, key=str.lower)
