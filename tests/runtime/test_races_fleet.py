"""Fleets at the wrong moment: workers that die, load, wear out or are replaced while something else happens to them."""

from __future__ import annotations

import os
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import isopod
from isopod import WorkerCrashed
from isopod.runtime import fleet
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
