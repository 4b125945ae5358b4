"""What is computed in every round trip: the same functions in process, behind a pipe, and in an isopod worker.

They need numpy alone, so that the children they are compared in stay bare.
"""

from __future__ import annotations

import os
import time
from typing import Any

LOBBY = "ISOPOD_BENCH_LOBBY"  # the variable that names a FIFO
_HOLD = 60.0  # seconds: whoever forgot to kill it is answered after all

Array = Any  # np.ndarray[Any, Any]


def first(x: Array) -> Array:
    """One element of the input: what is left is the price of the call itself."""
    return x[:1] + 1


def plus_one(x: Array) -> Array:
    """A new, private array as large as the input."""
    return x + 1


def any_of_them(x: Array, function: str) -> Array:
    """One model for all of them."""
    return {"first": first, "plus_one": plus_one, "hold": hold}[function](x)


def hold(x: Array) -> Array:
    """Tell in the lobby which process this is, and hold the call there until somebody kills it."""
    with open(os.environ[LOBBY], "w", encoding="ascii") as lobby:
        lobby.write(str(os.getpid()))
    time.sleep(_HOLD)
    return x


_BUSY_NS = 50_000
_mine: dict[int, Array] = {}


def private(x: Array) -> Array:
    """A private array as large as the input, without computing anything: what is left is a copy in and a copy out."""
    if x.nbytes not in _mine:
        _mine[x.nbytes] = x.copy()
    return _mine[x.nbytes]


def busy(x: Array) -> Array:
    """Fifty microseconds of work."""
    until = time.perf_counter_ns() + _BUSY_NS
    while time.perf_counter_ns() < until:
        pass
    return x[:1]


def count(**arrays: Array) -> dict[str, int]:
    """How many inputs there are."""
    return {"count": len(arrays)}
