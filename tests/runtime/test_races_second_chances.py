"""Calls that have no worker at the wrong moment: it dies while they are placed, cancelled, or sent again."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from callers import in_thread
from interrupts import cancel_at_any_line
from waits import GUARD, until

import isopod
from isopod import Overloaded, WorkerCrashed, WorkerTimeout, WorkerUnavailable
from isopod.runtime import control, session
from isopod.runtime.second_chances import SecondChances

MODELS = Path(__file__).resolve().parent.parent / "models"


@pytest.fixture
def homeless(tmp_path: Path) -> Iterator[tuple[isopod.Model, Path]]:
    """A model whose only worker has died, and whose next one loads for as long as a file is there."""
    flag = tmp_path / "loads for ever"
    with isopod.load(MODELS / "races.py:SlowToLoad", args={"flag": str(flag)}, max_waiting=3, retries=5) as model:
        flag.touch()
        os.kill(model.health.pid or 0, signal.SIGKILL)
        until(lambda: model.health.state in ("starting", "loading"))
        yield model, flag
        flag.unlink(missing_ok=True)


def test_calls_that_wait_for_a_worker_are_among_those_that_wait(homeless: tuple[isopod.Model, Path]) -> None:
    model, flag = homeless
    futures = [model.submit(), model.submit()]
    thread, results = in_thread(model)
    until(lambda: len(model._deployment.admission.inside) == 3)
    for caller in (model, model.submit, lambda: asyncio.run(model.acall()), lambda: next(model.map([{}]))):
        with pytest.raises(Overloaded, match="'SlowToLoad' has 3 calls that wait"):
            caller()
    assert futures.pop().cancel()
    futures.append(model.submit())
    flag.unlink()
    thread.join(GUARD)
    pid = model.health.pid
    assert [results[0]["pid"], *(future.result(GUARD)["pid"] for future in futures)] == [pid] * 3
    assert not model._deployment.admission.inside


def test_a_deadline_passes_in_line_behind_one_that_has_none(homeless: tuple[isopod.Model, Path]) -> None:
    model, flag = homeless
    patient = model.submit()
    until(lambda: any(thread.name == "isopod-again-SlowToLoad" for thread in threading.enumerate()))
    error = model.submit(timeout=0.1).exception(GUARD)
    assert isinstance(error, WorkerTimeout)
    assert "still being started" in str(error)
    assert not patient.done()
    flag.unlink()
    assert patient.result(GUARD)["pid"] == model.health.pid


def test_a_callback_that_exits_does_not_end_the_thread_that_sends_again(homeless: tuple[isopod.Model, Path]) -> None:
    model, flag = homeless

    def leave(_: object) -> None:
        sys.exit("a callback's own business")

    overdue, patient = model.submit(timeout=0.2), model.submit()
    overdue.add_done_callback(leave)
    assert isinstance(overdue.exception(GUARD), WorkerTimeout)
    flag.unlink()
    assert patient.result(GUARD)["pid"] == model.health.pid


def test_a_thread_that_cannot_be_started_is_the_outcome_of_one_call(
    homeless: tuple[isopod.Model, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, flag = homeless

    def no_more(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_more)
        future = model.submit()
    with pytest.raises(WorkerUnavailable, match=r"'SlowToLoad': .* new thread"):
        future.result(GUARD)
    later = model.submit()
    flag.unlink()
    assert later.result(GUARD)["pid"] == model.health.pid


def test_a_call_that_comes_back_before_it_is_known_to_be_sent_can_be_cancelled(
    homeless: tuple[isopod.Model, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """RACE late follow: its future must know the last place of the call, not the one before."""
    model, flag = homeless
    future = model.submit()
    resend, chances = session.Session.resend, model._second_chances

    def slow(self: session.Session, call: Any, room_by: int) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)
        resend(self, call, room_by)
        flag.touch()
        self.process.kill("by a test")
        until(lambda: chances._waiting)

    with monkeypatch.context() as patch:
        patch.setattr(session.Session, "resend", slow)
        flag.unlink()
        until(lambda: chances._waiting and chances._waiting[0][0].sends == 2)
    until(lambda: model.health.state == "loading")
    assert future.cancel()
    flag.unlink()
    assert model()["pid"] == model.health.pid


def test_inputs_are_not_lost_where_the_worker_dies_while_they_are_placed(monkeypatch: pytest.MonkeyPatch) -> None:
    """RACE lost inputs: a new segment cannot be handed to a dead worker, and the call is sent to the next one."""
    with isopod.load(MODELS / "races.py:Patient") as model:
        give, given = control.Control._give, iter([True])

        def fail_once(self: control.Control, segment: Any, *, outbox: bool) -> int | None:
            if not outbox and next(given, False):
                raise control.Unreachable("it does not read its control channel")
            return give(self, segment, outbox=outbox)

        monkeypatch.setattr(control.Control, "_give", fail_once)
        assert model.submit(x=np.full(1, 7)).result(GUARD)["x"].tolist() == [7] * 8


CALLERS: list[Callable[..., Any]] = [
    lambda model, **inputs: model(**inputs),
    lambda model, **inputs: model.submit(**inputs).result(GUARD),
    lambda model, **inputs: asyncio.run(model.acall(**inputs)),
    lambda model, **inputs: list(model.map([inputs, {"x": np.ones(1000)}, {"x": np.ones(1000)}])),
]


@pytest.mark.parametrize("caller", CALLERS, ids=["call", "future", "task", "map"])
@pytest.mark.parametrize("retries", [0, 1])
def test_an_error_does_not_hold_the_inputs_of_what_is_given_up(caller: Any, retries: int, tmp_path: Path) -> None:
    restart = isopod.Restart(max_restarts=0, cooldown=3600)
    with isopod.load(MODELS / "fleets.py:Member", retries=retries, restart=restart) as model:
        with pytest.raises(isopod.WorkerError) as caught:
            caller(model, x=np.ones(1000), seen=str(tmp_path / "seen"), deadly=99)
        assert isinstance(caught.value, WorkerUnavailable if retries else WorkerCrashed)
        until(lambda: model.stats().shared_bytes_used == 0)


def test_a_task_that_is_sent_again_waits_for_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    resend, full = session.Session.resend, []

    def short(self: session.Session, call: Any, room_by: int) -> None:
        if not room_by:
            full.append(call.id)
            raise isopod.ArenaFull("for now")
        resend(self, call, room_by)

    monkeypatch.setattr(session.Session, "resend", short)
    with isopod.load(MODELS / "fleets.py:Member", retries=1) as model:
        assert asyncio.run(model.acall(x=3, seen=str(tmp_path / "seen"), deadly=1))["x"] == 3
        assert full


def test_a_call_that_is_just_given_to_another_worker_can_be_cancelled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """RACE late cancel: the dispatcher of the dead worker has it, and no second chance yet."""
    give = SecondChances.give
    found: list[Any] = []

    def late(self: SecondChances, *arguments: Any) -> None:
        thread, results = in_thread(future.cancel)
        until(lambda: results or future._movers)  # type: ignore[attr-defined]
        give(self, *arguments)
        thread.join(GUARD)
        found.extend(results)

    monkeypatch.setattr(SecondChances, "give", late)
    with isopod.load(MODELS / "fleets.py:Member") as model:
        begun, seen = tmp_path / "begun", tmp_path / "seen"
        stuck = model.submit(seen=str(begun), until=str(tmp_path / "never"))
        until(begun.exists)
        future = model.submit(seen=str(seen))
        os.kill(model.health.pid or 0, signal.SIGKILL)
        assert isinstance(stuck.exception(GUARD), WorkerCrashed)
        until(lambda: found)
        assert found == [True]
        assert future.cancelled()
        assert model(x=1)["x"] == 1
        assert not seen.exists()


@pytest.mark.parametrize("dies", [False, True])
def test_a_call_that_is_just_sent_again_can_be_cancelled(
    homeless: tuple[isopod.Model, Path], monkeypatch: pytest.MonkeyPatch, dies: bool
) -> None:
    """RACE unsent: it stands in no line at this moment."""
    model, flag = homeless
    resend = session.Session.resend
    found: list[Any] = []

    def late(self: session.Session, call: Any, room_by: int) -> None:
        found.append(future.cancel())
        if dies:
            raise session.Gone
        resend(self, call, room_by)

    monkeypatch.setattr(session.Session, "resend", late)
    future = model.submit()
    flag.unlink()
    until(lambda: found)
    assert found[0] is True
    assert future.cancelled()
    monkeypatch.undo()
    assert model()["pid"] == model.health.pid
    assert model.stats().calls == 1


def test_ctrl_c_at_any_line_of_cancelling_what_waits_for_a_worker(homeless: tuple[isopod.Model, Path]) -> None:
    model, flag = homeless
    patient = model.submit()
    cancel_at_any_line(lambda _: model.submit(), only=("cancel", "_end_cancelled"))
    flag.unlink()
    assert patient.result(GUARD)["pid"] == model.health.pid
