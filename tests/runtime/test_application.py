"""The application's own end: Ctrl-C, a fork, an exit without close, SIGKILL. Nothing of a worker stays."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
import pytest
from application import MODELS, Application, gone
from waits import until

import isopod


def _quick_first(cases: Iterable[str], quick: int) -> list[Any]:
    """A whole application for each takes its time: all but the first few are for the full run."""
    return [case if index < quick else pytest.param(case, marks=pytest.mark.slow) for index, case in enumerate(cases)]


def nothing_in_shared_memory() -> None:
    assert not [name for name in os.listdir("/dev/shm") if "isopod" in name]


@pytest.mark.parametrize(
    "busy",
    [
        "model(do='sleep', x=3600)",
        "model.submit(do='sleep', x=3600).result()",
        "list(model.map([{'do': 'sleep', 'x': 3600}] * 5))",
        "__import__('asyncio').run(model.acall(do='sleep', x=3600))",
    ],
    ids=["call", "future", "map", "task"],
)
def test_ctrl_c_ends_a_waiting_application_cleanly(busy: str) -> None:
    application = Application(
        f"""
with load() as model:
    tell(model.health.pid)
    try:
        tell("waiting")
        {busy}
    except KeyboardInterrupt:
        tell("interrupted")
        model.close(timeout=0.1)
        raise
"""
    )
    worker = int(application.line())
    assert application.line() == "waiting"
    # It may come a little before the call waits, which is a good moment too.
    application.process.send_signal(signal.SIGINT)
    code, out, err = application.end()
    assert out.split() == ["interrupted"], err
    assert code == -signal.SIGINT
    assert "KeyboardInterrupt" in err
    gone(worker)
    nothing_in_shared_memory()


def test_after_ctrl_c_the_model_still_answers() -> None:
    application = Application(
        """
with load() as model:
    pid = model.health.pid
    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    try:
        model(do="sleep", x=1)
    except KeyboardInterrupt:
        tell("interrupted")
    tell(model(do="double", x=21)["y"], model.health.pid == pid)
"""
    )
    code, out, err = application.end()
    assert (code, out.split()) == (0, ["interrupted", "42", "True"]), err


def test_ctrl_c_while_loading_ends_cleanly(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(3600)\n")
    application = Application(
        f"""
import logging
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
isopod.load({str(tmp_path / "slow.py")!r} + ":f")
"""
    )
    assert application.line() == "loading"
    (worker,) = psutil.Process(application.process.pid).children()
    application.process.send_signal(signal.SIGINT)
    code, _, err = application.end()
    assert code == -signal.SIGINT
    assert "KeyboardInterrupt" in err
    gone(worker.pid)
    nothing_in_shared_memory()


@pytest.mark.parametrize(
    "ending",
    _quick_first(
        [
            "",
            "sys.exit(0)",
            "model.submit(do='sleep', x=0.01)",
            "del model",
            "keep = model.empty('x', 100); out = model(do='shared')",
            "threading.Thread(target=lambda: model(do='sleep', x=0.2)).start()",
            "loop = [model]; loop.append(loop); del model",
        ],
        3,
    ),
)
def test_an_exit_without_close_leaves_nothing(ending: str) -> None:
    application = Application(f"model = load()\ntell(model(do='pid')['pid'])\n{ending}\n")
    worker = int(application.line())
    code, _, err = application.end()
    assert (code, err) == (0, "")
    gone(worker)
    nothing_in_shared_memory()


def test_a_fork_does_not_touch_what_is_its_parents() -> None:
    application = Application(
        """
model = load()
before = model(do="pid")["pid"]
child = os.fork()
if child == 0:
    try:
        model(do="pid")
    except isopod.IsopodError as error:
        tell(type(error).__name__)
    model.close()
    del model
    gc.collect()
    sys.exit(0)
os.waitpid(child, 0)
tell(model(do="pid")["pid"] == before, model.health.state)
child = os.fork()
if child == 0:
    with load() as own:
        tell(own(do="double", x=4)["y"])
    os._exit(0)
os.waitpid(child, 0)
tell(model(do="pid")["pid"] == before)
model.close()
"""
    )
    code, out, err = application.end()
    assert code == 0, err
    first, *rest = out.split()
    assert first in ("Closed", "InternalError", "SpecError"), out
    assert rest == ["True", "ready", "8", "True"], err


STUCK: dict[str, str] = {
    "idle": "",
    "asleep": "model.submit(do='sleep', x=3600)",
    "in native code": "dying = isopod.load(MODELS + '/deaths.py:Dying'); tell(dying.health.pid); "
    "dying.submit(way='endless_with_gil')",
    "spinning": "dying = isopod.load(MODELS + '/deaths.py:Dying'); tell(dying.health.pid); dying.submit(way='endless')",
    "busy": "threading.Thread(target=lambda: [model(do='double', x=1) for _ in iter(int, 1)]).start()",
    "with many": "more = [load() for _ in range(3)]; tell(*[other.health.pid for other in more])",
}


@pytest.mark.parametrize("how", _quick_first(STUCK, 3))
def test_when_the_application_is_killed_its_workers_follow(how: str) -> None:
    application = Application(
        f"model = load()\ntell(model.health.pid)\n{STUCK[how]}\ntell('ready')\ntime.sleep(3600)\n"
    )
    workers = []
    while (line := application.line()) != "ready":
        assert line, application.end()
        workers += [int(word) for word in line.split()]
    application.process.kill()
    application.end()
    for worker in workers:
        gone(worker)
    nothing_in_shared_memory()


def test_when_the_application_is_killed_while_loading_the_worker_follows(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(3600)\n")
    application = Application(
        f"""
import logging
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
isopod.load({str(tmp_path / "slow.py")!r} + ":f")
"""
    )
    assert application.line() == "loading"
    workers = psutil.Process(application.process.pid).children()
    application.process.kill()
    application.end()
    for worker in workers:
        gone(worker.pid)
    nothing_in_shared_memory()


def test_what_a_model_started_goes_when_the_application_is_killed() -> None:
    application = Application(
        "model = isopod.load(MODELS + '/forks.py:fork')\ntell(*model()['pids'])\ntime.sleep(3600)\n"
    )
    forked, started = (int(word) for word in application.line().split())
    application.process.kill()
    application.end()
    gone(forked)
    gone(started)


def test_what_a_model_starts_goes_when_it_dies() -> None:
    with isopod.load(MODELS / "forks.py:fork", name="forks") as model:
        pids = model()["pids"]
        psutil.Process(model.health.pid).kill()
        for pid in pids:
            gone(pid)
        until(lambda: not model.health.ready)  # they may be gone before the monitor has heard of it
        others = model()["pids"]
    for pid in others:
        gone(pid)
