"""Batches at the wrong moment: Ctrl-C strikes a caller at every line, while it holds what others wait for."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batch_calls import Gate
from interrupts import Interrupt
from waits import GUARD

import isopod
from isopod import Batch, IsopodError

MODELS = Path(__file__).resolve().parent.parent / "models"
ONE = np.ones((1, 3))


@pytest.fixture
def model() -> Iterator[isopod.Model]:
    restart = isopod.Restart(max_restarts=None)
    with isopod.load(MODELS / "batches.py:Rows", batch=Batch(16, max_delay=1000.0), restart=restart) as model:
        model.submit(x=ONE).result(GUARD)
        yield model


class Fellows:
    """Two callers whose rows wait for a third one's."""

    def __init__(self, model: isopod.Model) -> None:
        assert model._batcher is not None
        self._roster = model._batcher._roster
        self._roster.expected = 3
        self.found: list[Any] = []
        self._threads = [threading.Thread(target=self._call, args=(model,), daemon=True) for _ in range(2)]
        for thread in self._threads:
            thread.start()
        self.await_waiting(2)

    def _call(self, model: isopod.Model) -> None:
        try:
            self.found.append(model(x=ONE))
        except IsopodError as error:
            self.found.append(error)

    def waiting(self) -> int:
        with self._roster.lock:
            return sum(len(group.members) - len(group.writers) for group in self._roster.gathering.values())

    def await_waiting(self, count: int) -> None:
        while self.waiting() != count:
            assert all(thread.is_alive() for thread in self._threads)

    def forget(self) -> None:
        """The next one is alone."""
        self._roster.expected = 1

    def join(self) -> None:
        for thread in self._threads:
            thread.join(GUARD)
            assert not thread.is_alive()

    def at_rest(self) -> bool:
        with self._roster.lock:
            return not self._roster.groups()


def of_all(model: isopod.Model) -> Any:
    return model(x=ONE * 2)


def of_a_future(model: isopod.Model) -> Any:
    return model.submit(x=ONE * 2).result(GUARD)


def of_a_map(model: isopod.Model) -> Any:
    walk: Any = model.map([{"x": ONE * 2}])
    try:
        return next(walk)
    finally:
        walk.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", [of_all, of_a_future, of_a_map])
def test_ctrl_c_at_every_line_strands_nobody(model: isopod.Model, way: Callable[[isopod.Model], Any]) -> None:
    """RACE stranded batch: the main thread is the third caller, so it sends what the two others wait for."""
    hits, number = 0, 0
    while True:
        number += 1
        fellows = Fellows(model)
        interrupt = Interrupt(number)
        try:
            with interrupt:
                out = way(model)
        except KeyboardInterrupt:
            hits += 1
            if fellows.waiting():
                assert way(model)["y"][0, 0] == 4  # and so does the next call, which is the third now
        else:
            assert out["y"][0, 0] == 4
        fellows.join()
        answered = [one["y"][0, 0] == 2 for one in fellows.found if isinstance(one, dict)]
        assert all(answered)
        fellows.forget()
        assert model.submit(x=ONE).result(GUARD)["y"][0, 0] == 2, interrupt.hit
        assert fellows.at_rest(), interrupt.hit
        if not interrupt.hit:
            break
    assert hits > 30


def test_ctrl_c_while_rows_are_moved_up(tmp_path: Path) -> None:
    """RACE half a move: one has left a batch, and the rows of the others move up; what was moved is not moved again."""
    second, third = np.arange(12.0).reshape(4, 3), np.arange(100.0, 109.0).reshape(3, 3)
    number = 0
    with isopod.load(MODELS / "batches.py:Rows", batch=Batch(16, max_delay=1000.0)) as model:
        assert model._batcher is not None
        while True:
            number += 1
            model._batcher._roster.expected = 1
            gate = Gate(model, tmp_path / f"gate-{number}")
            leaves, stay, stays_too = (model.submit(x=x) for x in (ONE, second, third))
            assert leaves.cancel()
            interrupt = Interrupt(number, only=("items", "_close_up"))
            with contextlib.suppress(KeyboardInterrupt), interrupt:
                model.submit(x=np.ones((9, 3)))  # there is no room for it: the others are sent
            gate.open()
            model._batcher._roster.expected = 1
            model._batcher.kick()
            assert (stay.result(GUARD)["y"] == 2 * second).all(), interrupt.hit
            assert (stays_too.result(GUARD)["y"] == 2 * third).all(), interrupt.hit
            if not interrupt.hit:
                break
    assert number > 10


@pytest.mark.timeout(600)
def test_ctrl_c_at_every_line_of_giving_a_batch_to_a_worker_that_is_yet_to_come(
    model: isopod.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RACE stranded batch: second chances have it, and others wait for it; it is sent once."""
    here, running = threading.current_thread(), model._deployment.running
    monkeypatch.setattr(model._deployment, "running", lambda: None if threading.current_thread() is here else running())
    number = 0
    while True:
        number += 1
        fellows = Fellows(model)
        runs = model.stats().runs
        interrupt = Interrupt(number, only=("give", "_enlist"))
        try:
            with interrupt:
                of_all(model)
        except KeyboardInterrupt:
            assert interrupt.hit
        fellows.join()
        assert [one["y"][0, 0] for one in fellows.found] == [2, 2], interrupt.hit
        assert model.stats().runs == runs + 1, interrupt.hit
        fellows.forget()
        assert model.submit(x=ONE).result(GUARD)["y"][0, 0] == 2, interrupt.hit
        if not interrupt.hit:
            assert number > 8
            return
