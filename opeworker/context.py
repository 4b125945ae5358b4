"""What a model may ask of its worker: ``from isopod import worker``. The only part of us that a model sees."""

from __future__ import annotations

import time
from typing import Any

__all__ = ["empty"]

_ARENA_WAIT_NS = 5_000_000_000


class _Running:
    """The worker's own state, set by ``serve``. One call at a time runs in a worker."""

    owner: Any = None  # an ArenaOwner, once the environment is active
    deadline_ns: int = 0
    call: int = 0  # its number; 0: there is none


def empty(shape: Any, dtype: Any = float) -> Any:
    """An uninitialised array that already lies in the memory shared with the application.

    ``shape`` is an int or a tuple of ints, ``dtype`` anything that numpy accepts but objects. Filled and returned by
    the model, or returned in part, it crosses without a copy::

        out = worker.empty((rows, 10), "float32")
        np.dot(x, self.weights, out=out)
        return {"scores": out}

    Raises ``ArenaFull`` if the shared memory is at its limit.
    """
    if _Running.owner is None:  # a process that the model forked: its memory is its own
        import numpy as np

        return np.empty(shape, dtype)
    return _Running.owner.empty(shape, dtype, "an output", arena_deadline())


def arena_deadline() -> int:
    """Until when to wait for room: five seconds, or half of what the call has left, to say so before it is ended."""
    now = time.monotonic_ns()
    soon = now + _ARENA_WAIT_NS
    return min(soon, now + (_Running.deadline_ns - now) // 2) if _Running.deadline_ns else soon
