"""What a model may ask of its worker: ``from isopod import worker``. The only part of us that a model sees."""

from __future__ import annotations

import time
from typing import Any, Optional, Tuple

__all__ = ["cancelled", "deadline", "empty"]

_ARENA_WAIT_NS = 5_000_000_000
ROOM = -_ARENA_WAIT_NS  # what ``room_by`` says in a call without a deadline


class _State:
    """The worker's own state, set by ``serve``. One call at a time runs in a worker."""

    owner: Any = None  # an ArenaOwner, once the environment is active
    progress: Any = None  # None in a process that the model forked, too: it speaks for nobody
    cancellations: Any = None
    copied_in: Any = None  # is told of each copy that a backend must make of an input, in bytes
    # Its record's number, its id, and its deadline as time.monotonic_ns() or 0. One value, because any thread may look.
    call: Optional[Tuple[int, int, int]] = None


_running = _State()  # no class of its own: to set an attribute of one takes the interpreter a hundred times as long


def empty(shape: Any, dtype: Any = float) -> Any:
    """An uninitialised array that already lies in the memory shared with the application.

    ``shape`` is an int or a tuple of ints, ``dtype`` anything that numpy accepts but objects. Filled and returned by
    the model, or returned in part, it crosses without a copy::

        out = worker.empty((rows, 10), "float32")
        np.dot(x, self.weights, out=out)
        return {"scores": out}

    Raises ``ArenaFull`` if the shared memory is at its limit.
    """
    if _running.owner is None:  # a process that the model forked: its memory is its own
        import numpy as np

        return np.empty(shape, dtype)
    return _running.owner.empty(shape, dtype, "an output", room_by())


def cancelled() -> bool:
    """Whether nobody waits for the running call any more: it was cancelled, or its deadline has passed.

    A model that looks from time to time, and once before its deadline, is not killed when that passes: it has the
    ``grace`` of ``isopod.load`` to return or raise something, whatever it is, and its worker goes on::

        for step in range(steps):
            if worker.cancelled():
                return {"image": image}
            image = self.denoise(image, step)

    It takes about a microsecond. Outside of a call it is False. It may be asked in any thread; a process that the
    model forks is told of the call in which it was forked, and does not count as a look.
    """
    call = _attend()
    if call is None:
        return False
    number, identity, deadline_ns = call
    return _running.cancellations.holds(number, identity) or 0 < deadline_ns <= time.monotonic_ns()


def deadline() -> Optional[float]:
    """When the running call is due, in seconds of ``time.monotonic()``; None if it has all the time that it wants.

    For libraries that take a time limit of their own. To look at it counts like ``cancelled``::

        due = worker.deadline()
        solver.solve(problem, time_limit=60.0 if due is None else due - time.monotonic())

    Outside of a call it is None.
    """
    call = _attend()
    return call[2] / 1e9 if call is not None and call[2] else None


def _attend() -> Optional[Tuple[int, int, int]]:
    """The running call, with its first look made known: so the application knows that it can be asked to stop."""
    call, progress = _running.call, _running.progress
    if call is not None and progress is not None and progress.attentive != call[1]:
        progress.attentive = call[1]
    return call


def note_copy(nbytes: int) -> None:
    """A backend had to copy an input, of so many bytes: one that may not be written, for a framework that might."""
    if _running.copied_in is not None:
        _running.copied_in(nbytes)


def running_call() -> int:
    """The number of the call that runs; 0 if there is none."""
    call = _running.call
    return 0 if call is None else call[1]


def room_by() -> int:
    """Until when to wait for shared memory, as ``Arena.allocate`` takes it: five seconds, or half of what the call has
    left, to say so before it is ended.
    """
    call = _running.call
    if call is None or not call[2]:
        return ROOM
    now = time.monotonic_ns()
    return min(now + _ARENA_WAIT_NS, now + (call[2] - now) // 2)
