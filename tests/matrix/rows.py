"""What a row is played with: its orders, the environment that obeys them, and who meets the way outside a worker."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from waits import until

import isopod
from isopod import Env
from isopod.runtime import process
from isopod.runtime.session import Session
from matrix.phases import Phase
from matrix.ways import DIES, SIGNALS, UNSEEN, Way

MODELS = Path(__file__).resolve().parent.parent / "models"
# It answers for the interpreter that it stands for, and is asked by its own name.
_WRAPPER = """\
#!{python} -IS
import os, sys
sys.path.append({models!r})
import ways
if "-c" in sys.argv:
    import subprocess
    said = subprocess.run([{python!r}, *sys.argv[1:]], stdout=subprocess.PIPE, universal_newlines=True).stdout
    print(said.replace('"executable": "' + {python!r}, '"executable": "' + os.path.abspath(sys.argv[0])))
    sys.exit()
import resource
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
ways.obey("exec")
os.execv({python!r}, [{python!r}, *sys.argv[1:]])
"""


class Orders:
    """One file, ``phase way``, that the worker of a row looks for; and what it tells by files beside it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "orders"

    def give(self, phase: str, way: str) -> None:
        for sign in ("begun", "taken"):
            self.sign(sign).unlink(missing_ok=True)
        whole = self.path.with_suffix(".new")
        whole.write_text(f"{phase} {way}")
        whole.rename(self.path)

    def withdraw(self) -> None:
        self.path.unlink(missing_ok=True)

    def sign(self, what: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{what}")

    def env(self, phase: Phase) -> Env:
        variables = {"ISOPOD_TEST_ORDERS": str(self.path)}
        if phase.name != "exec":
            return Env.current(variables=variables)
        return Env.existing(_wrapped(self.path.parent / "wrapped"), variables=variables)


def _wrapped(folder: Path) -> Path:
    """A virtual environment whose interpreter is a program that may end before it becomes the worker."""
    python = str(Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}").resolve())
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    if not site.exists():
        site.mkdir(parents=True)
        (site / "numpy.pth").write_text(str(Path(np.__file__).parent.parent))
        wrapper = folder / "wrapper"
        wrapper.write_text(_WRAPPER.format(python=python, models=str(MODELS)))
        wrapper.chmod(0o755)
        (folder / "pyvenv.cfg").write_text(f"home = {folder}\nexecutable = {wrapper}\n")
    return folder


def strike_from_outside(patch: pytest.MonkeyPatch, orders: Orders, phase: Phase, way: Way) -> None:
    """Signals that come when the process has just been made, or has just said hello."""
    number = getattr(signal, SIGNALS.get(way.name, "SIGSTOP"))
    spawn, on_message = process.spawn, Session._on_message

    def spawn_and_strike(*arguments: Any) -> Any:
        made = spawn(*arguments)
        if orders.path.exists():
            os.kill(made.pid, number)
        return made

    def strike_and_hear(session: Session, message: Any) -> None:
        if message.name == "hello" and orders.path.exists():
            os.kill(session.process.pid, number)
            if number != signal.SIGSTOP:  # so that what we answer finds nobody
                os.waitid(os.P_PIDFD, session.process.pidfd, os.WEXITED | os.WNOWAIT)
        on_message(session, message)

    if phase.name == "spawned":
        patch.setattr(process, "spawn", spawn_and_strike)
    else:
        patch.setattr(Session, "_on_message", strike_and_hear)


class Trigger:
    """An input that has the way met while it is copied in."""

    def __init__(self, model: isopod.Model, orders: Orders, way: Way, phase: Phase) -> None:
        self._row = model, orders, way, phase
        self._pulled = False

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        if not self._pulled:
            self._pulled = True
            pull(*self._row)
        return np.ones(3)


def pull(model: isopod.Model, orders: Orders, way: Way, phase: Phase) -> None:
    """Have the model's idle thread meet the way, and see that it did."""
    worker = psutil.Process(model.health.pid)
    orders.give("idle", way.name)
    end, _ = way.within(phase)
    if end == DIES:
        until(lambda: model.health.pid != worker.pid)
    elif way.name == "sigstop":
        until(lambda: worker.status() == psutil.STATUS_STOPPED)
    elif end == UNSEEN or way.name == "endless_with_gil":
        until(orders.sign("taken").exists)
    else:
        until(lambda: not orders.path.exists())
