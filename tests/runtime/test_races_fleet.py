"""Fleets at the wrong moment: workers that die, load, wear out or are replaced while something else happens to them."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import isopod
from isopod import WorkerCrashed, WorkerTimeout
from isopod.runtime import fleet, lifecycle
from isopod.runtime.process import WorkerProcess

GUARD = 30.0  # seconds: a hang guard
MODELS = Path(__file__).resolve().parent.parent / "models"


def until(condition: Callable[[], Any]) -> None:
    """Look until it holds."""
    give_up = time.monotonic() + GUARD
    while not condition():
        assert time.monotonic() < give_up
        os.sched_yield()


def in_thread(action: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Do it in another thread; its result, or the error that it ended with, is put into the list."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(action())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, results


# ---------------------------------------------------------------------- starting


@pytest.mark.parametrize("workers", [1, 2])
def test_one_that_is_ready_and_dies_before_load_has_looked(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    """RACE early death: nobody would start another one, and ``load`` would wait for all of them to be ready."""
    ready: list[WorkerProcess] = []

    class Late(threading.Condition):
        def wait(self, timeout: float | None = None) -> bool:
            if threading.current_thread() is not threading.main_thread():
                return super().wait(timeout)
            woken = super().wait(timeout)
            if len(ready) == workers:  # it looks up only when the first of them is dead again
                self.release()
                ready[0].kill()
                until(lambda: ready[0].pidfd < 0)
                self.acquire()
            return woken

    on_ready = fleet.Fleet.on_ready

    def note(self: fleet.Fleet, session: Any) -> None:
        ready.append(session.process)
        on_ready(self, session)

    monkeypatch.setattr(fleet, "threading", types.SimpleNamespace(Condition=Late))
    monkeypatch.setattr(fleet.Fleet, "on_ready", note)
    with pytest.raises(WorkerCrashed, match=r"'Patient'.*SIGKILL"):
        isopod.load(MODELS / "races.py:Patient", workers=workers)


def test_a_load_that_ends_in_the_moment_of_its_deadline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """RACE late load: what is ended for its deadline is not taken in any more, and the load fails for that reason."""
    flag = tmp_path / "loads for ever"
    flag.touch()
    kill = WorkerProcess.kill
    loaded = threading.Event()
    advance = lifecycle.Lifecycle.advance

    def tell(self: lifecycle.Lifecycle, event: str) -> str:
        state = advance(self, event)
        if event == "loaded":
            loaded.set()
        return state

    def late_kill(self: WorkerProcess, reason: str = "") -> None:
        if "deadline" in reason:
            flag.unlink()
            assert loaded.wait(GUARD)
        kill(self, reason)

    monkeypatch.setattr(lifecycle.Lifecycle, "advance", tell)
    monkeypatch.setattr(WorkerProcess, "kill", late_kill)
    with pytest.raises(WorkerTimeout, match=r"'SlowToLoad': loading it took longer than its deadline of 0\.5 s"):
        isopod.load(MODELS / "races.py:SlowToLoad", args={"flag": str(flag)}, load_timeout=0.5).close()


# ---------------------------------------------------------------------- deaths


def test_a_fault_of_ours_does_not_keep_a_death_from_its_callers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    on_ended = fleet.Fleet.on_ended

    def fault(self: fleet.Fleet, session: Any) -> None:
        on_ended(self, session)
        raise OSError("a fault of ours")

    with isopod.load(MODELS / "races.py:Hostile") as model:
        with monkeypatch.context() as patch:
            patch.setattr(fleet.Fleet, "on_ended", fault)
            error = model.submit(do="stacks").exception(GUARD)
        assert isinstance(error, WorkerCrashed)
        until(lambda: "please report it" in caplog.text)
        caplog.clear()  # the record's traceback holds the dead worker
        assert model()["pid"] == model.health.pid


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor")
def test_a_spare_takes_over_where_the_machine_has_not_its_processors_any_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The set of processors that this container may use was made smaller since."""

    def refuse(pid: int, cpus: Any) -> None:
        if pid:
            raise OSError(errno.EINVAL, "Invalid argument")

    first, second = sorted(os.sched_getaffinity(0))[:2]
    with isopod.load(MODELS / "fleets.py:Member", workers=2, standby=1, cpus=[[first], [second]]) as model:
        monkeypatch.setattr(os, "sched_setaffinity", refuse)
        active = model._deployment._fleet.active  # type: ignore[union-attr]
        (spare,) = {0, 1, 2} - {session.replica for session in active}
        os.kill(next(session.process.pid for session in active if session.berth != spare % 2), signal.SIGKILL)
        del active
        until(lambda: "could not be moved to processors" in caplog.text)
        assert {future.result(GUARD)["x"] for future in [model.submit(x=1) for _ in range(10)]} == {1}
