"""Telling tasks of asyncio, from other threads, that what they wait for has come.

Waking a loop takes a system call, and the loop's thread is then in the way of whoever goes on to the next answer. So
what comes until the loop has looked is told with one wake-up.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import deque
from collections.abc import Callable

_here = threading.local()


def teller(loop: asyncio.AbstractEventLoop) -> Callable[[asyncio.Future[None]], None]:
    """What settles a future of this loop, from any thread; asked for on the loop's own thread.

    A future that is done by then stays as it is, and nothing happens to those of a loop that was closed.
    """
    told: _Told | None = getattr(_here, "told", None)
    if told is None or told.loop() is not loop:
        told = _here.told = _Told(loop)
    return told.tell


class _Told:
    """Futures of one loop that are to be settled on its thread."""

    __slots__ = ("_futures", "_rung", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = weakref.ref(loop)  # the thread outlives it
        self._futures: deque[asyncio.Future[None]] = deque()
        self._rung = False

    def tell(self, future: asyncio.Future[None]) -> None:
        self._futures.append(future)
        if (
            not self._rung
        ):  # RACE unheard future: it stands there before this is asked; the loop does both the other way
            self._ring()

    def _ring(self) -> None:
        self._rung = True
        loop = self.loop()
        try:
            if loop is not None:
                loop.call_soon_threadsafe(self._settle)
                return
        except RuntimeError:  # it was closed with the call in flight
            pass
        self._futures.clear()
        self._rung = False

    def _settle(self) -> None:
        self._rung = False
        futures = self._futures
        try:
            while futures:
                future = futures.popleft()
                if not future.done():
                    future.set_result(None)
        finally:
            if futures:  # Ctrl-C came
                self._ring()
