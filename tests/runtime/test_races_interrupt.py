"""Ctrl-C at every line of a call: whatever it hits, the next call works, and nobody waits for ever.

A signal's handler runs between any two bytecodes of the main thread. A trace function does the same, at a chosen one.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interrupts import Interrupt, cancel_at_any_line
from waits import GUARD, until

import isopod
from isopod.ipc.transfer import ArenaOwner
from isopod.runtime import deadlines
from isopod.runtime.calls import Call
from isopod.runtime.flight import Flight

MODELS = Path(__file__).resolve().parent.parent / "models"


@pytest.fixture
def model() -> Iterator[isopod.Model]:
    with isopod.load(MODELS / "races.py:Patient") as model:
        model(x=0)
        yield model


def call(model: isopod.Model, number: int) -> None:
    assert model(x=np.full(8, number), timeout=GUARD)["x"][0] == number


def every(step: int) -> Iterator[int]:
    return iter(range(1, 10_000, step))


@pytest.mark.parametrize("step", [7])
@pytest.mark.timeout(600)
def test_at_any_line_of_a_call(model: isopod.Model, step: int) -> None:
    for number in every(step):
        interrupt = Interrupt(number)
        try:
            with interrupt:
                call(model, number)
        except KeyboardInterrupt:
            assert interrupt.hit
        try:
            call(model, -number)
            call(model, number)
        except isopod.WorkerTimeout as error:
            raise AssertionError(f"after an interrupt at {interrupt.hit}") from error
        if not interrupt.hit:
            assert number > 100
            return


def led_and_followed() -> tuple[Flight, Call, Call]:
    """A flight of no worker, the call whose caller leads, and one whose caller waits behind it."""
    flight = Flight("m", lambda _: False, lambda _: None, lambda: None, lambda _: False, lambda: None, lambda _: None)
    first, second = (Call(0, None, None, threaded=True) for _ in range(2))
    flight._leader = first
    flight._line_up(second)
    assert second.wake is not None
    assert second.wake.locked()
    return flight, first, second


def test_at_any_line_of_handing_the_lead_over() -> None:
    """RACE lost lead: the next one in line has it, and is awake, once the interrupted caller has abandoned its call."""
    number = 0
    while True:
        number += 1
        flight, first, second = led_and_followed()
        assert second.wake is not None
        interrupt = Interrupt(number)
        try:
            with interrupt:
                flight._retire(first)
        except KeyboardInterrupt:
            flight.abandon(first)
        assert flight._leader is second, f"after an interrupt at {interrupt.hit}"
        assert not second.wake.locked(), f"after an interrupt at {interrupt.hit}"
        if not interrupt.hit:
            assert number > 8
            return


def test_at_any_line_of_telling_one_that_follows() -> None:
    """RACE lost answer: it is awake once the interrupted leader has abandoned its own call."""
    number = 0
    while True:
        number += 1
        flight, first, second = led_and_followed()
        flight.sent[second.id] = second
        interrupt = Interrupt(number)
        try:
            with interrupt, flight.lock:
                flight.settle(second, None, answered=True)
        except KeyboardInterrupt:
            flight.abandon(first)
        assert second.wake is not None
        assert not second.wake.locked(), f"after an interrupt at {interrupt.hit}"
        if not interrupt.hit:
            assert number > 8
            return


def test_at_any_line_of_taking_another_call_in(model: isopod.Model, tmp_path: Path) -> None:
    """RACE lost answer: who leads takes the answers of others in; each of them is told, whatever line Ctrl-C hits."""
    number = 0
    while True:
        number += 1
        go = tmp_path / str(number)
        futures = [model.submit(until=str(go)), *(model.submit(x=turn) for turn in range(3))]
        threading.Timer(0.02, go.touch).start()
        interrupt = Interrupt(number, only=("_take_answer", "settle"))
        try:
            with interrupt:  # the dispatcher delivers the first answer, and we lead meanwhile
                call(model, number)
        except (KeyboardInterrupt, isopod.WorkerCrashed):
            pass
        try:
            answers = [future.exception(timeout=GUARD) for future in futures]
        except TimeoutError as error:
            raise AssertionError(f"after an interrupt at {interrupt.hit}") from error
        assert all(answer is None or isinstance(answer, isopod.WorkerCrashed) for answer in answers)
        if interrupt.left == number:  # the dispatcher was quicker, and took all of them in
            number -= 1
        elif not interrupt.hit:
            assert number > 15
            return


def test_inputs_that_are_spent_go_to_no_other_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RACE spent inputs: who leads takes another's answer in, and Ctrl-C comes when its inputs may be copied over."""
    spend, here, struck = ArenaOwner.spent, threading.current_thread(), threading.Event()

    def spend_and_strike(self: ArenaOwner, arrays: Any) -> None:
        spend(self, arrays)
        if threading.current_thread() is here and not struck.is_set():
            struck.set()
            raise KeyboardInterrupt

    monkeypatch.setattr(ArenaOwner, "spent", spend_and_strike)
    over = threading.Event()
    with isopod.load(MODELS / "races.py:Patient", retries=3) as model:
        first = model.submit(until=str(tmp_path / "go"))
        first.add_done_callback(lambda _: over.wait(GUARD))  # the dispatcher is busy, and we lead meanwhile
        others = [model.submit(x=np.full(8, 1)), model.submit(x=np.full(8, 2))]
        threading.Timer(0.02, (tmp_path / "go").touch).start()
        with pytest.raises(KeyboardInterrupt):
            call(model, 3)
        assert struck.is_set()
        others += [model.submit(x=np.full(8, number)) for number in (3, 4, 5)]
        over.set()
        assert [future.result(GUARD)["x"].tolist() for future in others] == [[turn] * 8 for turn in range(1, 6)]


@pytest.mark.parametrize("step", [11])
@pytest.mark.timeout(600)
def test_others_who_wait_are_told(model: isopod.Model, step: int) -> None:
    """Threads that follow an interrupted leader, or lead an interrupted follower, all get an answer or an error."""
    for number in every(step):
        settled: list[Any] = []

        def follow(settled: list[Any] = settled) -> None:
            for turn in range(5):
                try:
                    call(model, turn)
                except isopod.WorkerCrashed as error:
                    settled.append(error)
                else:
                    settled.append(None)

        others = [threading.Thread(target=follow, daemon=True) for _ in range(2)]
        for other in others:
            other.start()
        interrupt = Interrupt(number)
        try:
            with interrupt:
                call(model, number)
        except (KeyboardInterrupt, isopod.WorkerCrashed):
            pass
        for other in others:
            other.join(GUARD)
        assert len(settled) == 10, f"after an interrupt at {interrupt.hit}"
        call(model, number)
        if not interrupt.hit:
            return


@pytest.mark.parametrize("behind", [3, 70], ids=["in the ring", "in the backlog"])
def test_at_any_line_of_a_cancel(model: isopod.Model, tmp_path: Path, behind: int) -> None:
    """The call never runs, and whoever waits for its future is told, or learns it by cancelling once more."""
    begun, go_on = tmp_path / "begun", tmp_path / "go on"
    slow = model.submit(begun=str(begun), until=str(go_on))
    until(begun.exists)
    queue = [model.submit(x=number) for number in range(behind)]
    calls = model.stats().calls
    cancel_at_any_line(lambda number: model.submit(x=number))
    go_on.touch()
    assert slow.result(GUARD)
    assert [other.result(GUARD)["x"][0] for other in queue] == list(range(behind))
    call(model, 1)
    assert model.stats().calls == calls + 1 + behind + 1  # the slow one, those behind it, and this one


def test_at_any_line_of_giving_a_segment() -> None:
    """RACE half a gift: another model's output is sent, and its segment is not given, or given twice; then it ends."""
    number = 0
    with isopod.load(MODELS / "basic.py:Swiss") as second:
        pid = second.health.pid
        while True:
            number += 1
            interrupt = Interrupt(number, only=("_give",))
            with isopod.load(MODELS / "basic.py:Swiss") as first:
                x = first(do="double", x=np.ones(1000))["y"]
                with contextlib.suppress(KeyboardInterrupt), interrupt:
                    second(do="double", x=x)
                assert (second(do="double", x=x)["y"] == 4).all()
            del x
            for _ in range(2):  # it is told to forget what is no more
                assert (second(do="double", x=np.ones(3))["y"] == 2).all(), interrupt.hit
            assert second.health.pid == pid, interrupt.hit
            if not interrupt.hit:
                break
    assert number > 10


UNTIL_CANCELLED = """
from isopod import worker

def model(wait=True):
    while wait and not worker.cancelled():
        pass
    return {"x": 1}
"""


def waited(model: isopod.Model) -> Any:
    return model()


def mapped(model: isopod.Model) -> Any:
    return list(model.map([{}]))


def submitted(model: isopod.Model) -> Any:
    model.submit()


def strike_later(interrupt: Interrupt) -> None:
    """Where no line is struck any more, the call waits; and it is struck once."""

    def strike(*_: object) -> None:
        interrupt.left = 0
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, strike)
    signal.setitimer(signal.ITIMER_REAL, 0.5)


@pytest.mark.parametrize("way", [waited, mapped, submitted])
@pytest.mark.timeout(600)
def test_a_call_is_taken_back_at_any_line_between_its_sending_and_its_wait(
    way: Callable[[isopod.Model], Any], tmp_path: Path
) -> None:
    """RACE unwaited call: the model is told, and the next call need not wait for it. RACE lost place: it keeps none."""
    (tmp_path / "until.py").write_text(UNTIL_CANCELLED)
    between = ("begin", "_begin", "_alone", "_outcome", "_first_of", "map", "submit", "_post", "__call__", "enter")
    with isopod.load(tmp_path / "until.py:model", max_waiting=1) as model:
        model(wait=False)
        for number in every(1):
            interrupt = Interrupt(number, between)
            strike_later(interrupt)
            try:
                with interrupt:
                    way(model)
                    raise KeyboardInterrupt
            except KeyboardInterrupt:
                signal.setitimer(signal.ITIMER_REAL, 0)
            if way is submitted and not interrupt.hit:
                model._deployment.close(0.0)
                assert number > 10
                return
            until(lambda: not model._deployment.admission.inside)
            assert model(wait=False, timeout=GUARD / 4)["x"] == 1, f"after an interrupt at {interrupt.hit}"
            if not interrupt.hit:
                assert number > 10
                return


@pytest.mark.parametrize("line", range(1, 11))
def test_a_deadline_that_passes_while_ctrl_c_strikes(
    model: isopod.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: int
) -> None:
    """Who looks after the deadlines of others is struck, and another does it: it is not left to who does it no more."""
    begun = tmp_path / "begun"
    (session,) = model._deployment._living()
    with monkeypatch.context() as patch:
        patch.setattr(session.flight, "_expire", lambda _: None)
        future = model.submit(begun=str(begun), until=str(tmp_path / "never"), timeout=0.2)
        until(begun.exists)
        (sent,) = session.flight.sent.values()
        due_ns = sent.due_ns
        until(lambda: due_ns < time.monotonic_ns())
        interrupt = Interrupt(line, only=("expire",))
        with contextlib.suppress(KeyboardInterrupt), interrupt:
            deadlines.expire(session, sent)
    del session, sent
    assert isinstance(future.exception(GUARD / 4), isopod.WorkerTimeout), f"after an interrupt at {interrupt.hit}"
    call(model, 1)
    assert interrupt.hit


@pytest.mark.parametrize("line", range(1, 5))
def test_a_version_that_is_replaced_ends_whatever_line_ctrl_c_strikes(line: int) -> None:
    with isopod.load(MODELS / "fleets.py:Member") as model:
        old = model.health.pid
        interrupt = Interrupt(line, only=("_put_out",))
        with contextlib.suppress(KeyboardInterrupt), interrupt:
            model.reload(args={"version": 2})
        assert interrupt.hit
        until(lambda: len(model._deployment._living()) == 1)
        assert model.health.pid != old
        assert model()["version"] == 2
        model.reload()
        assert model()["version"] == 2  # what was not given is as it was left


@pytest.mark.parametrize("line", range(1, 13))
def test_closing_again_ends_all_workers_whatever_line_ctrl_c_struck(line: int) -> None:
    model = isopod.load(MODELS / "fleets.py:Member", workers=2, standby=1)
    fleet = model._deployment._fleet
    assert fleet is not None
    sessions = fleet.sessions()
    interrupt = Interrupt(line, only=("retire",))
    with contextlib.suppress(KeyboardInterrupt), interrupt:
        model.close()
    model.close()
    assert interrupt.hit
    assert len(sessions) == 3
    assert all(session.exited.is_set() for session in sessions), f"after an interrupt at {interrupt.hit}"
