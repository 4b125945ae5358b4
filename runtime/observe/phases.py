"""The phases of a call, from the moment in which a caller asks until it has its answer: one table, for all uses.

Each call leaves a list of *marks*: moments on the clock that application and worker share (``CLOCK_MONOTONIC``). Phases
are what lies between two marks that follow each other, so they add up to the whole, always. The marks of the middle
are a worker's word, and it may lie: whatever it says is moved to between the moment in which the call was sent to it
and the one in which its answer was heard, in the order of the table. So no phase is ever negative.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

Side = Literal["caller", "both", "worker"]


class Phase(NamedTuple):
    """What follows the mark of the same number. ``side`` is who works at it; for "both" it is on its way."""

    name: str
    side: Side
    text: str


PHASES = (
    Phase(
        "admit", "caller", "inputs are checked; where no worker is ready, one is awaited, also after another has died"
    ),
    Phase("copy_in", "caller", "inputs are put into shared memory, those that do not lie there already"),
    Phase("send", "caller", "the record is made; where the ring is full, it waits for a slot"),
    Phase("queue", "both", "the worker is still at calls that came before"),
    Phase("wake", "both", "through the ring, the worker's doorbell and its scheduler, until it has the record"),
    Phase("decode", "worker", "the record is checked, and arrays are made over the inputs where they lie"),
    Phase("compute", "worker", "the model, with its framework's own conversions"),
    Phase("copy_out", "worker", "outputs are put into shared memory, and the answer's record is made"),
    Phase("wake_back", "both", "through the other ring, its doorbell and the scheduler, until it is heard here"),
    Phase("take_in", "caller", "the answer is checked, and arrays are made over the outputs"),
    Phase("hand_over", "caller", "to whoever waits for it: another thread, a future, a task"),
)
NAMES = tuple(phase.name for phase in PHASES)
MARKS = len(PHASES) + 1
# Numbers of marks: when a call was sent, heard of again, taken in, and handed over. The first is when it was asked.
SENT, RECEIVED, STARTED, FINISHED, REPLIED, HEARD, TAKEN, OUT = 3, 5, 6, 7, 8, 9, 10, 11
COMPUTE = NAMES.index("compute")

Marks = Sequence[int]


def label(name: str) -> str:
    """As people read it."""
    return name.replace("_", " ")


def settled(calls: Iterable[Marks]) -> np.ndarray[Any, Any]:
    """The marks of calls as nanoseconds since each was asked, a row a call, in order and without lies.

    A mark that was never made (0) takes no time: of a call that was sent again, or that is not handed over yet.
    """
    marks = np.array(list(calls), dtype=np.uint64).reshape(-1, MARKS)
    # ours are in order already, but for those that were never made
    np.minimum(marks[:, :HEARD], marks[:, HEARD : HEARD + 1], out=marks[:, :HEARD])
    ordered = np.maximum.accumulate(marks, axis=1)
    return (ordered - ordered[:, :1]).astype(np.int64)


def durations(calls: Iterable[Marks]) -> np.ndarray[Any, Any]:
    """Nanoseconds by call (rows) and phase (columns): none is negative, and each row adds up to the call's whole."""
    return np.diff(settled(calls), axis=1)
