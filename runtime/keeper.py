"""The keeper: one thread that does things at their time, for all models.

Load deadlines, back-off, probes, and the look at each worker's memory and age are small actions that nobody waits for.
They run here, one after the other; none of them may take long, and none runs a user's code.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable

_logger = logging.getLogger("isopod")
_LEAST = 16  # timers that are kept, cancelled or not
_LONGEST = 3600.0  # seconds of one wait: a lock cannot wait for what a user may call a long pause


class Timer:
    """One action that is due at a moment. ``cancel`` forgets it, unless it has begun."""

    __slots__ = ("__weakref__", "action", "due")

    def __init__(self, due: float, action: Callable[[], None]) -> None:
        self.due = due
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        self.action = None  # and with it whatever it holds on to; the empty timer goes in a while


class Keeper:
    """Safe for many threads, and for the garbage collector, which may find a model that nobody holds at any line of
    any thread: whoever asks waits for no lock. The timers are the keeper's thread's alone.
    """

    def __init__(self) -> None:
        self._asked: deque[Timer] = deque()
        # Let go when something was asked for, and taken by the thread. A queue's ``get(timeout)`` would not do: up to
        # Python 3.12 that of ``SimpleQueue`` never ends where its time is over before it sleeps.
        self._bell = threading.Lock()
        self._bell.acquire()
        self._timers: list[tuple[float, int, Timer]] = []  # a heap; the number keeps the order of equal moments
        self._numbers = itertools.count()
        self._full_at = _LEAST
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="isopod-keeper", daemon=True)
        self._thread.start()

    def after(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Do something in ``seconds``, on the keeper's thread; never, if that is stopped. Never waits."""
        timer = Timer(time.monotonic() + seconds, action)
        if self._stopped:
            return timer
        try:
            self._asked.append(timer)
        finally:  # even where Ctrl-C comes in between
            self._ring()
        return timer

    def _ring(self) -> None:
        with contextlib.suppress(RuntimeError):  # it rings already
            self._bell.release()

    def stop(self) -> None:
        """End the thread; what is not due yet never happens."""
        self._stopped = True
        self._ring()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped:
            self._turn()
        self._timers.clear()

    def _turn(self) -> None:
        """One wait, or one action. Its locals hold on to workers, and must go before the next wait."""
        action = self._next()
        if action is None:
            return
        try:
            action()
        except Exception:  # goes to the log: a fault with one model must not stop the clock for all others
            _logger.exception("a fault in a timed action; please report it")

    def _next(self) -> Callable[[], None] | None:
        """What is due, once everything that was asked for has its place in the order; None after a wait."""
        while self._asked:
            self._keep(self._asked.popleft())
        pause = self._timers[0][0] - time.monotonic() if self._timers else _LONGEST
        if pause > 0:
            self._bell.acquire(timeout=min(pause, _LONGEST))
            return None
        timer = heapq.heappop(self._timers)[2]
        action, timer.action = timer.action, None
        return action

    def _keep(self, timer: Timer) -> None:
        if len(self._timers) >= self._full_at:  # most load deadlines are cancelled, minutes before they are due
            self._timers = [entry for entry in self._timers if entry[2].action is not None]
            heapq.heapify(self._timers)
            self._full_at = max(_LEAST, 2 * len(self._timers))
        heapq.heappush(self._timers, (timer.due, next(self._numbers), timer))
