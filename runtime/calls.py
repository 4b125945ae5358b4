"""One call on its way, and the ways of waiting for it."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from isopod.ipc import plain
from isopod.ipc import record as records
from isopod.ipc.errors import SpecError, WorkerCrashed
from isopod.ipc.lease import expose
from isopod.ipc.lent import Loan, contains
from isopod.ipc.record import Stamps, Tensor
from isopod.ipc.transfer import Outbound
from isopod.runtime.deaths import poison_error

_numbers = itertools.count(1)
FOREVER = 1e9  # seconds: more is no deadline at all, and no lock could wait for it
# Workers in a row that may say they died before they began a call. That many can be true: where one poisonous call
# follows another, an innocent one is often in line behind it. The circuit is what ends a worker's lies.
_BELIEVED = 100


class Call:
    """What one call sent, and what became of it. It is settled exactly once, by whoever holds the session's lead.

    ``deliver`` is called when it is settled, on the session's dispatcher thread, if ``threaded``; on whatever thread
    settles it otherwise, and then it must be quick and run no user's code. Without ``deliver``, somebody waits.

    ``due_ns`` is when something must be done about it next: at its deadline, then at the end of its grace, 0 for never.
    ``marked``: the worker was told that nobody wants it; ``withdrawn``: before it began, so it never runs;
    ``cancelled``: it was settled by that. ``told``: ``deliver`` was called, or is about to be. ``carried``: second
    chances have it, or had it, and see to it that it is sent.
    """

    # What is so for every call at first stands here, once: to set all of it for each took longer than the rest.
    done = told = late = marked = withdrawn = cancelled = carried = False
    error: BaseException | None = None
    inputs: Any = None  # a mapping of what is to be sent, until it is placed
    outputs: Any = None
    verdict: Any = None  # looks at the outputs; see ``Interface.verdict``
    wake: threading.Lock | None = None
    tensors: Sequence[Tensor] = ()
    kept: list[Any]
    by_block: dict[tuple[int, int], list[int]] | None = None  # which of the tensors lie there, once that is asked
    plain = b""  # what is not a tensor, packed
    record = b""
    attempt = sends = 1
    begun = True  # whether a model saw it; known once its worker has died
    shared = False  # it is those of several callers, who are counted one by one
    number = -1  # of its record in the ring, once it is sent
    # Moments on the way, 0 for what did not happen: see ``observe.phases``.
    asked_ns = placed_ns = sent_ns = 0
    stamps: Stamps = (0, 0, 0, 0, 0)
    marks: list[int] | None = None  # once it is answered
    thread = 0  # whose call it is, while that is recorded

    def __init__(self, deadline_ns: int, timeout: float | None, deliver: Callable[[Call], None] | None, threaded: bool):
        self.id = next(_numbers)
        self.submitted_ns = time.monotonic_ns()
        self.deadline_ns = self.due_ns = deadline_ns
        self.timeout = timeout
        self.deliver = deliver
        self.threaded = threaded
        self.kept = []

    def place(self, outbound: Outbound, items: Any, room_by_ns: int) -> None:
        """Copy in what must be copied. Raises ``SpecError``, ``ArenaFull``."""
        self.tensors, self.kept, values = outbound.place_all(items, room_by_ns)
        if values:
            self.plain = plain.pack(values)
        self.inputs = None
        self.placed_ns = time.monotonic_ns()

    def encode(self, spilled: Tensor | None = None) -> bytes:
        """Make its record, or that of the block which holds the record, and return it. Raises ``SpecError``."""
        stamps = (self.deadline_ns, self.submitted_ns, 0, 0, 0)
        if spilled is None:
            record = records.encode(records.CALL, self.id, stamps, self.tensors, self.plain)
        else:
            record = records.encode(records.CALL, self.id, stamps, [spilled], flags=records.SPILLED)
        self.record = record
        return record

    def mark(self, turn_ns: int, heard_ns: int, taken_ns: int) -> list[int]:
        """Its answer is taken in: all moments so far, and room for that in which it is handed over.

        ``turn_ns`` is when its worker was done with the call before.
        """
        received, started, finished, replied, _ = self.stamps
        self.marks = [
            self.asked_ns or self.submitted_ns, self.submitted_ns, self.placed_ns, self.sent_ns, turn_ns,
            received, started, finished, replied, heard_ns, taken_ns, 0,
        ]  # fmt: skip
        return self.marks

    def handed_over(self) -> None:
        """Whoever asked has its outcome."""
        if self.marks is not None:
            self.marks[-1] = time.monotonic_ns()

    def find(self, tensor: Tensor) -> Loan | None:
        """The input that an output lies in, where a model returned a view of it."""
        if self.by_block is None:  # a model may return as many views as there are inputs
            self.by_block = {}
            for place, item in enumerate(self.tensors):
                self.by_block.setdefault((item.segment, item.block), []).append(place)
        for place in self.by_block.get((tensor.segment, tensor.block), ()):
            item, array = self.tensors[place], self.kept[place]
            loan = Loan(array, item.offset, item.nbytes)
            if contains(loan, tensor):
                expose(array)
                return loan
        return None

    def uses(self, key: tuple[int, int]) -> int:
        """How many of its inputs lie in a block, which is named by segment and number."""
        return sum((item.segment, item.block) == key for item in self.tensors)

    def release(self) -> None:
        """Let the inputs go: their memory can be used again."""
        self.tensors, self.kept, self.by_block = (), [], None
        self.plain = self.record = b""
        self.inputs = None

    @property
    def may_go_on(self) -> bool:
        """Whether it ended with its worker, so that another worker might answer it: it keeps its inputs until then."""
        return isinstance(self.error, WorkerCrashed)

    def next_attempt(self, retries: int) -> Call | None:
        """The same call once more, for another worker; None if it is over, and then its inputs are let go.

        A call that no model has seen goes on in any case: it has had no effect yet. (A worker that lies about that is
        believed a few times.) One that a model has seen goes on ``retries`` times, and takes the blame in the end.
        """
        if not self.may_go_on:
            return None
        attempt = self.attempt + self.begun
        if attempt > retries + 1 or self.sends > retries + _BELIEVED:
            if self.attempt > 1:
                self.error = poison_error(self.error, self.attempt)
            self.release()
            return None
        again = Call(self.deadline_ns, self.timeout, self.deliver, self.threaded)
        again.asked_ns, again.thread = self.asked_ns, self.thread
        again.tensors, again.kept, again.plain = self.tensors, self.kept, self.plain
        again.attempt, again.sends = attempt, self.sends + 1
        again.verdict, again.shared = self.verdict, self.shared
        self.release()  # they are the next one's: this one is kept by tracebacks
        return again


def first_of(sent: dict[int, Call]) -> int | None:
    """The call that a worker is at. Asked without the lock, for a line of its log: what is not sure is not said."""
    try:
        return next(iter(sent), None)
    except RuntimeError:  # one came or went at this moment
        return None


def deadline_after(timeout: float | None) -> int:
    """``time.monotonic_ns()`` in ``timeout`` seconds; 0 for none."""
    if timeout is None or timeout >= FOREVER:
        return 0
    return time.monotonic_ns() + max(1, int(timeout * 1e9))


def check_seconds(value: Any, what: str, *, zero: bool = False) -> None:
    """Raises ``SpecError`` for what is no number of seconds: none that is negative or not a number, and no zero unless
    that is welcome. Infinity is one.
    """
    try:
        fits = value > 0 or (zero and value == 0)
        finite = not math.isnan(value)
    except TypeError:
        fits = finite = False
    if not (fits and finite):
        least = "0 or more" if zero else "more than 0"
        raise SpecError(f"{what} is a number of seconds, {least}, not {value!r}")
