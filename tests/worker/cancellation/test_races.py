"""Cancelling in the moment in which a call begins, is given on, or ends."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
import threading
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from waits import GUARD, until
from worker.cancellation.sampling import busy, cancelled_when, sampler

import isopod
from isopod import WorkerCrashed, WorkerTimeout


def test_race_late_cancel(tmp_path: Path) -> None:
    """Its worker died before it began it, and whoever is to give it to another one is held up: it is taken back yet."""
    entered, hold = threading.Event(), threading.Event()

    def hold_up(_: Future[Any]) -> None:
        entered.set()
        assert hold.wait(GUARD)

    with sampler() as model:
        try:
            (tmp_path / "first").mkdir()
            with busy(model, tmp_path / "first"):
                model.submit(x=0).add_done_callback(hold_up)
            assert entered.wait(GUARD)
            begun = tmp_path / "begun"
            running = model.submit(do="wait", begun=str(begun), until=str(tmp_path / "never"))
            until(begun.exists)
            queue = [model.submit(x=np.full(1000, number)) for number in range(10)]
            sent = [one._sent[0] for one in queue]  # type: ignore[attr-defined]
            os.kill(model.health.pid or 0, signal.SIGKILL)
            until(lambda: all(call.done for call in sent))
            assert running.cancel() is False
            assert all(one.cancel() and one.cancelled() for one in queue)
        finally:
            hold.set()
        assert isinstance(running.exception(GUARD), WorkerCrashed)
        assert model()["calls"] == 1
        until(lambda: model.stats().shared_bytes_used == 0)


def test_race_marked_as_it_began(model: isopod.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It began just when it was marked: ``cancel`` is False, so it runs, though its worker saw the mark."""
    calls = model()["calls"]
    with busy(model, tmp_path):
        with monkeypatch.context() as patch:
            patch.setattr(model._deployment.running(), "has_begun", lambda _: True)
            late = model.submit(x=21)
            assert late.cancel() is False
        assert not late.done()
    assert late.result(GUARD)["x"] == 42
    assert model()["calls"] == calls + 3


def test_race_undecided_mark(model: isopod.Model, tmp_path: Path) -> None:
    """Ctrl-C came before it was said whether a marked call runs: it does not, and its future is cancelled."""
    calls = model()["calls"]
    with busy(model, tmp_path):
        session = model._deployment.running()
        assert session is not None
        left = model.submit(x=1)
        with session.flight.lock:
            sent = next(reversed(session.flight.sent.values()))
            sent.marked = True
            session._mail.cancellations.mark(sent.number, sent.id)
    assert concurrent.futures.wait([left], GUARD).not_done == set()
    with pytest.raises(CancelledError):
        left.result(GUARD)
    assert left.cancelled()
    assert model()["calls"] == calls + 2


def test_race_stuck_in_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is due, and began before anybody heard that those before it have ended: it is not told that it waits."""
    with sampler() as model:
        begun = tmp_path / "begun"
        slow = model.submit(do="wait", begun=str(begun), until=str(tmp_path / "never"))
        until(begun.exists)
        with monkeypatch.context() as patch:
            patch.setattr(model._deployment.running(), "has_begun", lambda _: True)
            with pytest.raises(WorkerTimeout, match="its worker was ended"):
                model(x=1, timeout=0.1)
        assert isinstance(slow.exception(GUARD), WorkerCrashed)
        assert model(x=1)["x"] == 2


def test_a_worker_that_refuses_what_nobody_cancelled_is_ended() -> None:
    with sampler() as model:
        model(do="refuse_the_next")
        with pytest.raises(WorkerCrashed, match=r"broke the data protocol: it refused call \d+, which was wanted"):
            model(x=1)
        assert model(x=1)["x"] == 2


def test_race_unsent(model: isopod.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task is cancelled while its call waits for shared memory, in a thread: it is never sent."""
    calls, session = model()["calls"], model._deployment.running()
    assert session is not None
    begin, waits, room = session.begin, threading.Event(), threading.Event()

    def begin_when_there_is_room(call: Any, items: Any, arena_deadline_ns: int) -> None:
        if not arena_deadline_ns:
            raise isopod.ArenaFull
        waits.set()
        assert room.wait(GUARD)
        begin(call, items, arena_deadline_ns)

    async def cancel() -> None:
        waiting = asyncio.create_task(model.acall(x=np.zeros(1000)))
        await cancelled_when(waits.is_set, waiting)
        room.set()

    with monkeypatch.context() as patch:
        patch.setattr(session, "begin", begin_when_there_is_room)
        asyncio.run(cancel())
    assert model()["calls"] == calls + 1
