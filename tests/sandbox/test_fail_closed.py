"""Where a sandbox cannot be had, or does not hold, nothing of the model runs, and the error says what is missing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from application import Application, gone
from repository import ROOT

import isopod
from isopod.ipc.errors import ProtocolError, SandboxUnavailable
from isopod.opeworker.guard.syscalls import NUMBERS, architecture
from isopod.runtime.sandbox import Sandbox
from isopod.runtime.sandbox.look import examine
from isopod.runtime.sandbox.machine import trial

HERE = Path(__file__).resolve().parent
NOBODY_IN_PARTICULAR = 47113

PROGRAM = """
import pathlib, sys, isopod
file = pathlib.Path(sys.argv[1]) / "model.py"
text = "import pathlib\\npathlib.Path(__file__).with_name('ran').write_text('x')\\n"
file.write_text(text + "def model():\\n    return 1\\n")
try:
    isopod.load(f"{file}:model", sandbox=sys.argv[2]).close()
    print("loaded")
except isopod.SandboxUnavailable as error:
    print(error)
"""

# In a bare interpreter, as a worker's bootstrap makes our packages; {break} is what is wrong with it.
LOCK = """
import importlib, sys, threading, types
for name, path in (("isopod", []), ("isopod.ipc", ["ipc"]), ("isopod.opeworker", ["opeworker"])):
    sys.modules[name] = module = types.ModuleType(name)
    module.__path__ = path
guard = importlib.import_module("isopod.opeworker.guard.lock")
order = {"profile": "strict", "limits": {}, "capabilities": [], "readable": [], "scratch": ""}
order.update(scratch_size=0, namespaces=False, processes=0, shared_memory=0, nice=10)
load = {"sandbox": order, "environment": {"prefix": "", "sites": []}, "target": {}}
BREAK
try:
    guard.lock(load, ["ipc", "opeworker"])
    print("locked")
except (guard.Unavailable, guard.ProtocolError) as error:
    print(error)
"""

# It may start processes, the kernel does not count them, and is too old to have a highest number for a namespace.
STARTS = "order.update(namespaces=True, processes=8, shared_memory=1 << 20)"
OLD = "guard.os.uname = lambda: types.SimpleNamespace(release='6.1.0', machine='x86_64')"


def skip_without_processes(order: str) -> None:
    if order == STARTS and not trial(Sandbox("strict", allow_subprocess=True))[0]:
        pytest.skip("this machine gives no namespace of processes")


def refusing(calls: list[str], *command: str) -> str:
    here = architecture()
    assert here is not None
    numbers = ",".join(str(NUMBERS[name][here.column]) for name in calls)
    whole = [sys.executable, str(HERE / "refusing.py"), numbers, sys.executable, *command]
    done = subprocess.run(whole, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_strict_without_landlock_is_refused_and_the_model_never_runs(tmp_path: Path) -> None:
    said = refusing(["landlock_create_ruleset"], "-c", PROGRAM, str(tmp_path), "strict")
    assert "model 'model' cannot have the sandbox that was asked for: Landlock: this kernel does not offer it" in said
    assert "Linux 6.2" in said
    assert not (tmp_path / "ran").exists()


def test_limits_need_neither(tmp_path: Path) -> None:
    assert "loaded" in refusing(["landlock_create_ruleset", "seccomp"], "-c", PROGRAM, str(tmp_path), "limits")
    assert (tmp_path / "ran").exists()


def test_doctor_says_so_beforehand(tmp_path: Path) -> None:
    os.environ["ISOPOD_HOME"] = str(tmp_path)
    try:
        report = json.loads(refusing(["landlock_create_ruleset"], "-m", "isopod", "doctor", "--json"))
    finally:
        del os.environ["ISOPOD_HOME"]
    checks = {check["name"]: check for check in report["checks"]}
    assert checks["sandbox 'limits'"]["good"] is True
    assert checks["sandbox 'strict'"]["good"] is None
    assert "Landlock: this kernel does not offer it" in checks["sandbox 'strict'"]["value"]
    assert report["healthy"], "isopod works, with models that are trusted"


@pytest.mark.parametrize(
    ("broken", "fact"),
    [
        ("pass", "locked"),
        (
            "guard.seccomp.install = lambda process, starts: 'all is well'",
            "self-test: to open a socket: it was not refused",
        ),
        ("guard.landlock.restrict = lambda rules: 'all is well'", "self-test: to list the root folder"),
        (f"{STARTS}; guard.processes._can_fork = lambda: True; {OLD}", "bound on processes: root is not counted, and"),
        ("guard.landlock.version = lambda: 2", "Landlock: this kernel has version 2 of it; it needs version 3"),
        ("guard.seccomp.architecture = lambda: None", "no table of system calls for this processor"),
        ("threading.Thread(target=threading.Event().wait, daemon=True).start()", "one thread: there are 2 before"),
        (
            "guard.priority.lower = lambda nice: guard.os.close(-1)",
            "a lower priority: Bad file descriptor; nice=0 does",
        ),
        ("del order['scratch']", "has the wrong form"),
        ("order['profile'] = 3", "has the wrong form"),
        ("order['processes'] = 8", "has the wrong form"),
    ],
)
def test_a_lock_that_does_not_hold_is_none(broken: str, fact: str) -> None:
    skip_without_processes(broken.partition("; ")[0])
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", LOCK.replace("BREAK", broken)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert fact in done.stdout, done.stderr


@pytest.mark.parametrize("order", ["pass", STARTS])
@pytest.mark.parametrize("version", [f"3.{minor}" for minor in range(7, 14)])
def test_it_locks_on_every_python(version: str, order: str) -> None:
    skip_without_processes(order)
    kept = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    if not kept:
        pytest.skip(f"no Python {version}")
    done = subprocess.run(
        [str(kept[-1]), "-I", "-S", "-B", "-c", LOCK.replace("BREAK", order)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "locked\n", done.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="this is a plain user anyway")
@pytest.mark.parametrize("order", ["pass", STARTS])
def test_a_plain_user_can_lock(order: str) -> None:
    skip_without_processes(order)
    done = subprocess.run(
        ["/usr/bin/env", "python3", "-I", "-S", "-B", "-c", LOCK.replace("BREAK", order)],
        cwd=ROOT, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"},
        user=NOBODY_IN_PARTICULAR, group=NOBODY_IN_PARTICULAR, extra_groups=[],
    )  # fmt: skip
    if done.returncode in (126, 127) or "PermissionError" in done.stderr:
        pytest.skip("no Python that another user could run, or this folder is closed to others")
    assert done.stdout == "locked\n", done.stderr


@pytest.mark.parametrize("culprit", ["sandbox", "seen"])
def test_a_model_cannot_say_that_there_is_no_sandbox(culprit: str, tmp_path: Path) -> None:
    """An application that takes less of a sandbox where there is none would load it with that."""
    (tmp_path / "forger.py").write_text(
        "import gc, signal\n"
        "class Forger:\n"
        "    def __init__(self, culprit):\n"
        "        (link,) = (one for one in gc.get_objects() if type(one).__name__ == 'Link')\n"
        "        error = dict.fromkeys(('type', 'message', 'traceback', 'missing', 'culprit'), 'no Landlock here')\n"
        "        if culprit:\n"
        "            link.send('failed', culprit=culprit, error=error)\n"
        "            signal.pause()\n"
        "    def __call__(self, x):\n"
        "        return x\n"
    )
    with pytest.raises(isopod.WorkerCrashed, match=f"it failed to load, and blames '{culprit}' for it"):
        isopod.load(tmp_path / "forger.py:Forger", args={"culprit": culprit}, sandbox="strict")
    with isopod.load(tmp_path / "forger.py:Forger", args={"culprit": ""}, sandbox="strict") as model:
        assert model(x=1)["output"] == 1


def test_what_a_model_raises_does_not_steer_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(
        "def loud(x):\n"
        "    if x:\n"
        "        raise ValueError('one\\x1b]0;title\\x07\\x1b[2J\\ttwo\\n\\x9b31mthree')\n"
        "    return x\n"
    )
    with isopod.load(tmp_path / "loud.py:loud", sandbox="strict") as model:
        with pytest.raises(isopod.ModelError, match="raised ValueError in a call: one\ttwo\nthree\n") as raised:
            model(x=1)
        shown = str(raised.value) + raised.value.remote_message + raised.value.remote_traceback
        assert not any(ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in shown.translate({9: None, 10: None}))
        assert model(x=0)["output"] == 0


@pytest.mark.parametrize("profile", ["limits", "strict"])
def test_the_application_looks_for_itself(profile: str) -> None:
    """A worker that says that it is locked, and is not, is not believed."""
    lie: dict[str, Any] = {"landlock": "version 7", "seccomp": "all", "refused": ["all"], "readable": []}
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE) as liar:
        with pytest.raises(
            SandboxUnavailable, match=r"model 'liar': its sandbox does not hold: no_new_privs is not set"
        ):
            examine("liar", liar.pid, Sandbox(profile), 1 << 30, lie)
        liar.kill()


@pytest.mark.parametrize(
    "done", [{}, {"landlock": 1}, {"landlock": "", "seccomp": "", "refused": "all", "readable": []}]
)
def test_a_report_without_its_form_is_a_protocol_error(done: dict[str, Any]) -> None:
    from isopod.runtime.sandbox.look import _confined

    status = {"Seccomp": "2", "Seccomp_filters": "1", "Threads": "1"}
    with pytest.raises(ProtocolError, match="wrong form"):
        _confined("model", status, {}, done)
    for wrong in ({"Seccomp": "0"}, {"Threads": "2"}, {"Seccomp_filters": "0"}):
        with pytest.raises(SandboxUnavailable, match="does not hold"):
            _confined("model", {**status, **wrong}, {}, done)


def test_a_strict_worker_dies_with_its_application_whatever_its_model_does(tmp_path: Path) -> None:
    """It has closed every descriptor, and never lets another thread of its own run."""
    (tmp_path / "model.py").write_text(
        "import os, sys\n"
        "def model(ready):\n"
        "    print('ready', file=sys.stderr, flush=True)\n"
        "    os.closerange(0, 4096)\n"
        "    sys.setswitchinterval(1e6)\n"
        "    while True:\n"
        "        pass\n"
    )
    application = Application(f"""
import logging
class Ready(logging.Handler):
    def emit(self, record):
        tell(record.getMessage())
logging.getLogger("isopod.worker").addHandler(Ready())
model = isopod.load({str(tmp_path / "model.py")!r} + ":model", sandbox="strict")
tell(model.health.pid)
model.submit(ready=1)
sys.stdin.read()
""")
    pid = int(application.line())
    assert application.line() == "ready"
    application.process.send_signal(signal.SIGKILL)
    application.end()
    gone(pid)
