"""The keeper's one thread: in order, cancellable, and not to be stopped by a fault."""

from __future__ import annotations

import functools
import logging
import threading
import time
import weakref
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest
from waits import GUARD, until

from isopod.runtime import keeper as keeper_module
from isopod.runtime.keeper import Keeper


@pytest.fixture
def keeper() -> Iterator[Keeper]:
    made = Keeper()
    yield made
    made.stop()


def test_actions_come_at_their_time_and_in_their_order(keeper: Keeper) -> None:
    seen: list[tuple[str, float]] = []
    done = threading.Event()
    began = time.monotonic()

    def note(what: str) -> None:
        seen.append((what, time.monotonic() - began))

    keeper.after(0.15, done.set)
    keeper.after(0.1, lambda: note("later"))
    keeper.after(0.05, lambda: note("sooner"))
    keeper.after(0.0, lambda: note("now"))
    keeper.after(0.0, lambda: note("then"))
    assert done.wait(GUARD)
    assert [what for what, _ in seen] == ["now", "then", "sooner", "later"]
    assert all(at >= due for (_, at), due in zip(seen, (0, 0, 0.05, 0.1), strict=True))


def test_a_cancelled_action_never_happens_and_lets_go_at_once(keeper: Keeper) -> None:
    class Thing:
        def act(self) -> None:
            raise AssertionError

    thing, done = Thing(), threading.Event()
    gone = weakref.ref(thing)
    timer = keeper.after(0.05, thing.act)
    timer.cancel()
    del thing
    assert gone() is None
    keeper.after(0.1, done.set)
    assert done.wait(GUARD)


def test_a_fault_goes_to_the_log_and_the_next_action_happens(keeper: Keeper, caplog: pytest.LogCaptureFixture) -> None:
    done = threading.Event()

    def fail() -> None:
        raise ValueError("no good")

    with caplog.at_level(logging.ERROR, "isopod"):
        keeper.after(0.0, fail)
        keeper.after(0.0, done.set)
        assert done.wait(GUARD)
    assert "a fault in a timed action" in caplog.text
    assert "no good" in caplog.text


def test_cancelled_timers_do_not_pile_up(keeper: Keeper) -> None:
    done = threading.Event()
    keeper.after(0.2, done.set)
    kept = [weakref.ref(keeper.after(3600.0, done.set)) for _ in range(10)]
    gone = []
    for _ in range(1000):
        timer = keeper.after(3600.0, done.set)
        timer.cancel()
        gone.append(weakref.ref(timer))
        del timer
    until(lambda: sum(one() is not None for one in gone) < 40)
    assert all(one() is not None for one in kept)
    assert done.wait(GUARD)  # and what is due comes all the same


def test_what_the_collector_asks_for_at_any_line_of_the_keepers_own_is_heard() -> None:
    """A model that nobody holds is found by the thread that happens to run, which may be just about to wait."""
    left = 0

    def strike(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in (keeper_module.__file__, threading.__file__):
            return None
        if event == "line" and left:
            left -= 1
            if not left:
                keeper.after(0.0, happened.set)
        return strike

    def begin(line: int) -> None:
        nonlocal left
        left = line

    line, reached = 0, True
    while reached:
        line, happened = line + 1, threading.Event()
        threading.settrace(strike)
        try:
            keeper = Keeper()
        finally:
            threading.settrace(None)
        keeper.after(0.0, functools.partial(begin, line))
        reached = happened.wait(1.0) or not left  # or else it waits, and has not come that far
        assert not reached or happened.wait(GUARD), f"line {line}"
        left = 0
        keeper.stop()
    assert line > 3


def test_no_time_is_too_short_to_be_waited_for(keeper: Keeper) -> None:
    for number in range(2000):
        done = threading.Event()
        keeper.after(number % 100 / 1e6, done.set)
        assert done.wait(GUARD)


def test_what_is_not_due_when_it_stops_never_happens() -> None:
    keeper, happened = Keeper(), threading.Event()
    keeper.after(0.2, happened.set)
    keeper.stop()
    keeper.after(0.0, happened.set)
    assert not happened.is_set()


def test_a_very_long_time_does_not_stop_the_clock(keeper: Keeper) -> None:
    """More seconds than a lock can wait for: a ``cooldown`` of years is a way to say never."""
    done = threading.Event()
    keeper.after(1e12, done.set)
    keeper.after(0.05, done.set)
    assert done.wait(GUARD)
