"""Telling tasks of asyncio, from other threads, that what they wait for has come.

Waking a loop takes a system call, and the loop's thread is then in the way of whoever goes on to the next answer. So
what comes until the loop has looked is told with one wake-up.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable

_here = threading.local()
_PATIENCE_NS = 100_000_000


def teller(loop: asyncio.AbstractEventLoop) -> Callable[[asyncio.Future[None]], None]:
    """What settles a future of this loop, from any thread; asked for on the loop's own thread.

    A future that is done by then stays as it is, and nothing happens to those of a loop that was closed.
    """
    told: _Told | None = getattr(_here, "told", None)
    if told is None or told.loop() is not loop:
        told = _here.told = _Told(loop)
    return told.tell


class _Told:
    """Futures of one loop that are to be settled on its thread.

    RACE unheard future: it stands there before it is asked whether the loop was rung; the loop does both the other way.
    RACE lost wake-up: Ctrl-C strikes a loop between two of its steps, and what it was about to run, it never runs. So
    it is rung once more where it has not looked for a while: or none of its futures was ever told again.
    """

    __slots__ = ("_futures", "_rung_ns", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = weakref.ref(loop)  # the thread outlives it
        self._futures: deque[asyncio.Future[None]] = deque()
        self._rung_ns = 0  # when it was rung; 0 once it looks

    def tell(self, future: asyncio.Future[None]) -> None:
        self._futures.append(future)
        if not self._rung_ns or time.monotonic_ns() - self._rung_ns > _PATIENCE_NS:
            try:
                self._ring()
            except BaseException:  # goes on to the caller: Ctrl-C in the middle of it, so it is done again
                self._ring()
                raise

    def _ring(self) -> None:
        self._rung_ns = time.monotonic_ns()
        loop = self.loop()
        try:
            if loop is not None:
                loop.call_soon_threadsafe(self._settle)
                return
        except RuntimeError:  # it was closed with the call in flight
            pass
        self._futures.clear()
        self._rung_ns = 0

    def _settle(self) -> None:
        futures = self._futures
        try:
            self._rung_ns = 0
            while futures:
                if not futures[0].done():
                    futures[0].set_result(None)
                del futures[0]
        finally:
            if futures:  # Ctrl-C came
                self._ring()
