"""Words that one side leaves in its own control segment, for the other to look at whenever it likes.

No message and no wake-up: a notice costs its writer one store, and whoever never looks pays nothing. Each is one
aligned word of 8 bytes that is written and read whole, and nothing that was written before it is read because of it.
What a worker writes here is hostile like everything else of it: it decides only which of its own calls are given to
another worker, which of them count as cancelled, and how long it is waited for before it is ended.

One order has to hold. A worker writes that it has begun and then looks for a mark; the other side marks and then looks
whether it has begun. At least one of them sees the other, because each puts a ``_barrier`` between its store and its
look. If both do, it is for the one that marked to say which came first, and the worker waits for that word.
"""

from __future__ import annotations

import os
import threading
import time

from isopod.ipc import layout
from isopod.ipc.layout import Layout
from isopod.ipc.segment import Segment

_CALL, _WITHDRAWN, _RUNS = (1 << 62) - 1, 1 << 62, 1 << 63
_PATIENCE = 0.1  # seconds
_new_lock = threading.Lock


def _barrier() -> None:
    """Let what was stored be seen before what is read next.

    Taking a lock is an instruction that drains the processor's stores on x86. Elsewhere the bytecode in between does in
    practice, thousands of times as long as a store takes to be seen. The lock is a new one: Ctrl-C can leave none held.
    """
    _new_lock().acquire()


class Progress:
    """What a worker tells about the calls that it was sent; in its own control segment."""

    __slots__ = ("_words",)

    def __init__(self, segment: Segment) -> None:
        self._words = memoryview(segment.map)[layout.PROGRESS_OFFSET : layout.PROGRESS_OFFSET + 16].cast("Q")

    @property
    def begun(self) -> int:
        """How many records of the other side it has begun to work on: what lies behind them never reached a model."""
        return self._words[0]

    def begin(self, record: int, call: int, marks: Cancellations) -> bool:
        """The worker begins on ``call``, the ring's ``record``-th; False where it must not run it after all."""
        self._words[0] = record + 1
        _new_lock().acquire()  # SYNC POINT begun: a barrier, as below, before its mark is looked for
        return not (marks.holds(record, call) and marks.refuses(record, call))

    @property
    def attentive(self) -> int:
        """The last call that looked whether it is still wanted."""
        return self._words[1]

    @attentive.setter
    def attentive(self, call: int) -> None:
        self._words[1] = call


class Cancellations:
    """Which calls nobody wants any more; in the control segment of the side that sent them.

    A call is marked in a place that belongs to its record's slot. A mark is never taken away: the next call there has
    another number. It is the call's number alone, until it is decided whether the call is taken back or runs.
    """

    __slots__ = ("_slots", "_words")

    def __init__(self, segment: Segment, shape: Layout) -> None:
        self._slots = shape.slots
        start = shape.cancellations_offset
        self._words = memoryview(segment.map)[start : start + shape.slots * 8].cast("Q")

    def mark(self, record: int, call: int) -> None:
        """Nobody wants ``call``, which was sent as the ring's ``record``-th."""
        self._words[record % self._slots] = call
        _barrier()  # SYNC POINT begun: before it is looked whether the call has begun

    def decide(self, record: int, call: int, withdrawn: bool) -> None:
        """Whether the mark came before the call had begun: then it never does."""
        self._words[record % self._slots] = call | (_WITHDRAWN if withdrawn else _RUNS)

    def holds(self, record: int, call: int) -> bool:
        """Whether nobody wants the call."""
        return self._words[record % self._slots] & _CALL == call

    def refuses(self, record: int, call: int) -> bool:
        """For the worker, once it has written that it has begun: whether it must not run the call.

        Waits for the word of the other side, which is at it right now, but not for ever: Ctrl-C may have kept it.
        """
        place = record % self._slots
        if self._words[place] & _CALL != call:
            return False  # the usual case: nothing is marked
        until = time.monotonic() + _PATIENCE
        while self._words[place] == call and time.monotonic() < until:
            os.sched_yield()
        return self._words[place] != call | _RUNS
