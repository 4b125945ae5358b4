"""Ctrl-C that the main thread sleeps through: taken by another thread here, which looks the same to it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable

import pytest
from waits import GUARD, until

from isopod.cli import interrupts
from isopod.cli.interrupts import heard_at_once


def _take_one(after: float = 0.0) -> None:
    time.sleep(after)
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)


def _sleep_on_a_lock() -> None:
    threading.Event().wait(GUARD)


def _sleep_in_a_system_call() -> None:
    time.sleep(GUARD)


@pytest.mark.parametrize("sleep", [_sleep_on_a_lock, _sleep_in_a_system_call])
def test_it_ends_the_wait(sleep: Callable[[], None]) -> None:
    began = time.monotonic()
    taker = threading.Thread(target=_take_one, args=(0.1,))  # till then it sleeps
    with pytest.raises(KeyboardInterrupt), heard_at_once():  # noqa: PT012  (it comes in the second)
        taker.start()
        sleep()
    taker.join()
    assert time.monotonic() - began < GUARD


def test_it_is_heard_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "_PAUSES", (0.01, 0.01, 0.01))
    knocks = []
    with heard_at_once():
        signal.signal(signal.SIGURG, lambda *_: knocks.append(True))
        with pytest.raises(KeyboardInterrupt):
            _take_one()
        until(lambda: len(knocks) == len(interrupts._PAUSES))
        with pytest.raises(KeyboardInterrupt):  # and the next one as well
            _take_one()
        until(lambda: len(knocks) == 2 * len(interrupts._PAUSES))


def test_all_is_as_before() -> None:
    threads = threading.active_count()
    knocked = signal.getsignal(signal.SIGURG)
    with heard_at_once():
        assert threading.active_count() == threads + 1
    assert threading.active_count() == threads
    assert signal.getsignal(signal.SIGURG) is knocked
    wake = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wake)
    assert wake == -1


def test_in_another_thread_it_does_nothing() -> None:
    seen = []

    def run() -> None:
        with heard_at_once():
            seen.append(threading.active_count())

    before = threading.active_count()
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before + 1]
