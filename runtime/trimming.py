"""Shared memory follows the load down: what a burst has grown is given back when it has not been needed for a while.

The keeper looks every so often, from the first growth on and for as long as there is anything to give back: at the
application's own arena for inputs, and at the workers' for outputs, each of which is asked to look itself. An idle
worker is not woken by anything else, and not at all where there is nothing to give back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from isopod.ipc.arena import FIRST_SEGMENT, Arena
from isopod.ipc.errors import ProtocolError
from isopod.runtime.alarm import Alarm
from isopod.runtime.keeper import Keeper
from isopod.runtime.lifecycle import READY
from isopod.runtime.session import Session

PERIOD = 30.0  # seconds between looks: what is given back was not needed for one to two of them
_LONGEST = 600.0  # seconds, where nothing happens and what there is cannot be given back


class Trimming:
    """``sessions()`` are the workers that live; ``answers()`` is how many calls were answered, by which it is seen
    whether anything happens. Safe for many threads.
    """

    def __init__(
        self,
        arena: Arena,
        sessions: Callable[[], Iterable[Session]],
        answers: Callable[[], int],
    ) -> None:
        self._arena = arena
        self._sessions = sessions
        self._answers = answers
        self._lock = threading.Lock()
        self._alarm = Alarm(self._look)
        self._keeper: Keeper | None = None  # once there is something to give back
        self._pause = PERIOD
        self._seen = (0, 0)

    def grown(self, keeper: Keeper) -> None:
        """A segment has come. Waits for nothing."""
        with self._lock:
            self._keeper, self._pause = keeper, PERIOD
            self._alarm.set(keeper, _after(PERIOD))

    def close(self) -> None:
        """Let go of whoever made us: both would be garbage in a circle."""
        self._sessions = list
        self._answers = int

    def _look(self) -> None:
        with self._lock:
            self._alarm.rings()
        self._arena.trim()
        sessions = list(self._sessions())
        for session in sessions:
            _trim(session)
        seen = (self._answers(), self._arena.reserved)
        if self._arena.reserved <= FIRST_SEGMENT and not any(session.control.trims for session in sessions):
            return
        with self._lock:
            # Only arrays that somebody keeps can be in the way then, and nobody tells of their end.
            self._pause = PERIOD if seen != self._seen else min(2 * self._pause, _LONGEST)
            self._seen = seen
            if self._keeper is not None:
                self._alarm.set(self._keeper, _after(self._pause))


def _trim(session: Session) -> None:
    if session.life.state == READY:
        try:
            session.control.trim()
        except (OSError, ProtocolError) as error:  # the reason why it is ended
            session.process.kill(f"it does not read its control channel: {error}")


def _after(seconds: float) -> int:
    return time.monotonic_ns() + int(seconds * 1e9)
