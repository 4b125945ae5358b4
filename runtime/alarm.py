"""One timer for several things to look at: it rings at the earliest moment that it was set to."""

from __future__ import annotations

import functools
import time
import weakref
from collections.abc import Callable

from isopod.runtime.keeper import Keeper, Timer


class Alarm:
    """``look``, a method, is called on the keeper's thread. It is held weakly: a model that is let go must not wait for
    the deadline of a call, long answered, to be garbage. The caller's lock guards ``set`` and ``rings``.
    """

    def __init__(self, look: Callable[[], None]) -> None:
        self._look = weakref.WeakMethod(look)
        self._timer: Timer | None = None
        self._due_ns = 0

    def set(self, keeper: Keeper, due_ns: int) -> None:
        """Ring at that moment, as ``time.monotonic_ns()``, or before."""
        if self._timer is not None:
            if self._due_ns <= due_ns:
                return
            self._timer.cancel()
        self._due_ns = due_ns
        seconds = max(0.0, (due_ns - time.monotonic_ns()) / 1e9)
        self._timer = keeper.after(seconds, functools.partial(_call_if_alive, self._look))

    def rings(self) -> None:
        """It does: it can be set again."""
        self._timer = None


def _call_if_alive(method: weakref.WeakMethod[Callable[[], None]]) -> None:
    found = method()
    if found is not None:
        found()
