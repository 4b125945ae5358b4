"""The keeper: one thread that does things at their time, for all models.

Load deadlines, back-off, probes, and the look at each worker's memory and age are small actions that nobody waits for.
They run here, one after the other; none of them may take long, and none runs a user's code.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
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
    """Safe for many threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._timers: list[tuple[float, int, Timer]] = []  # a heap; the number keeps the order of equal moments
        self._numbers = itertools.count()
        self._full_at = _LEAST
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="isopod-keeper", daemon=True)
        self._thread.start()

    def after(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Do something in ``seconds``, on the keeper's thread; never, if that is stopped. Never waits."""
        timer = Timer(time.monotonic() + seconds, action)
        with self._changed:
            if self._stopped:
                return timer
            if len(self._timers) >= self._full_at:
                self._sweep()
            heapq.heappush(self._timers, (timer.due, next(self._numbers), timer))
            if self._timers[0][2] is timer:
                self._changed.notify()
        return timer

    def _sweep(self) -> None:
        """Take the cancelled ones out: most load deadlines are, minutes before they are due. Locked."""
        self._timers = [entry for entry in self._timers if entry[2].action is not None]
        heapq.heapify(self._timers)
        self._full_at = max(_LEAST, 2 * len(self._timers))

    def stop(self) -> None:
        """End the thread; what is not due yet never happens."""
        with self._changed:
            self._stopped = True
            self._timers.clear()
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped:
            self._turn()

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
        with self._changed:
            now = time.monotonic()
            if not self._timers or self._timers[0][0] > now:
                self._changed.wait(min(self._timers[0][0] - now, _LONGEST) if self._timers else None)
                return None
            timer = heapq.heappop(self._timers)[2]
            action, timer.action = timer.action, None
            return action
