"""What comes out of one worker: each record checked, and made into a call's outputs or into its error.

Also keeps the account of inputs that the worker holds beyond their call. Everything is hostile until it is checked;
``ProtocolError`` is what comes out then, and the session ends the worker for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from typing import Any, Protocol

import numpy as np

from isopod.ipc import record as records
from isopod.ipc.errors import IsopodError, ProtocolError, SpecError
from isopod.ipc.lease import expose
from isopod.ipc.lent import Lent
from isopod.ipc.record import Tensor
from isopod.ipc.tensor import TEXT
from isopod.ipc.transfer import Inbound, in_order
from isopod.runtime.calls import Call
from isopod.runtime.control import Control
from isopod.runtime.deaths import arena_error, model_error, overrun_error, timeout_error
from isopod.runtime.mailboxes import Mailboxes
from isopod.runtime.outputs import Outputs
from isopod.runtime.stats import Counters

# Returns that wait for room in the ring. An application may let go of many arrays at once, and then they wait; a worker
# that takes none, and goes on to lend, would have them grow for ever.
_MANY_OWED, _MOST_GROWTHS = 1 << 18, 100


class Sent(Protocol):
    """The calls that a worker has, by their numbers."""

    def get(self, number: int, /) -> Call | None: ...


class Intake:
    """``in_flight(key)`` says how often a block is with calls that are not answered yet.

    ``memory_limit`` (bytes) bounds what is copied of one answer. With ``copies`` every output is, before anyone looks
    at it: the worker could change what lies in shared memory while it is looked at.
    """

    def __init__(
        self,
        name: str,
        mail: Mailboxes,
        control: Control,
        counters: Counters,
        in_flight: Callable[[tuple[int, int]], int],
        *,
        memory_limit: int,
        copies: bool = False,
    ) -> None:
        self._name = name
        self._memory_limit = memory_limit
        self._copies = copies
        self._mail = mail
        self._counters = counters
        self._in_flight = in_flight
        self._lent = Lent(in_flight)
        self._returned = mail.returns.ready
        self._owed = mail.borrowed.waiting
        self._owed_before = self._growths = 0
        self._inbound = Inbound(control.segment, control.is_ours, mail.borrowed, counters.add_copied_out)

    def take(self, data: bytes, sent: Sent) -> tuple[Call, int, Exception | None]:
        """An answer to one of the calls that were ``sent``: which, the answer's kind, and the error that the call ends
        with, if any. Its outputs are made. Raises ``ProtocolError``.
        """
        kind, number, stamps, tensors, values, spilled = records.fields_of(data)
        if spilled:
            # When it was sent is written into the slot alone.
            kind, number, _, tensors, values, _ = self._unspilled(tensors)
        call = sent.get(number)
        if call is None or kind == records.CALL:
            raise ProtocolError(f"it answered call {number}, which it does not have")
        call.stamps = stamps
        if values:
            self._note_held(call, values.get("held"))
            self._count(values.get("copied", 0))
        if self._returned():
            self._mail.reclaim(self._lent)
        if self._lent.early:
            self._check_early(call)
        if len(self._owed) > _MANY_OWED:
            self._check_owed(len(self._owed))
        error: IsopodError | None = None
        if kind == records.RESULT:
            try:
                outputs = call.outputs = self._outputs(call, tensors, values)
                if not self._counters.output_names:
                    self._counters.output_names = tuple(outputs)
                if call.verdict is not None:
                    error = call.verdict(outputs)
            except SpecError as unknown_dtype:  # its traceback would keep the other outputs
                error = unknown_dtype.with_traceback(None)
        elif kind in (records.EXPIRED, records.CANCELLED):
            return call, kind, self._refusal(call, kind)
        else:
            error = self._error_of(kind, values)
        if error is not None:
            call.outputs = None
        if call.deadline_ns and call.deadline_ns <= stamps[2]:
            call.outputs = None  # too late: it is dropped, or a caller would get what the model gave up half-way
            error = overrun_error(self._name, call.timeout, (stamps[2] - call.deadline_ns) / 1e9, error)
        return call, kind, error

    def _unspilled(self, tensors: Sequence[Tensor]) -> records.Fields:
        """The record that was too long for a slot, from its block."""
        if len(tensors) != 1:
            raise ProtocolError("a spilled record is not one tensor")
        return records.fields_of(self._inbound.spilled(tensors[0]))

    def _outputs(self, call: Call, tensors: tuple[Tensor, ...], values: dict[str, Any]) -> Outputs:
        copies, lent, array_of = self._copies, self._lent, self._inbound.array
        # Tensors may share a block, so that a small answer could be copied out into any amount of memory.
        copied = 0
        for item in tensors:
            if copies or item.dtype in TEXT:
                copied += item.nbytes
        if copied > self._memory_limit:
            raise ProtocolError(f"its outputs claim {copied} bytes, more than its memory_limit of {self._memory_limit}")
        outputs, unknown = Outputs(), None
        for item in tensors:
            try:
                array = array_of(item, call, lent)
            except SpecError as error:  # raised below: the blocks of the others go back only as arrays of theirs
                unknown = unknown or error
                continue
            outputs[item.name] = self._private(array) if copies else array
        if unknown is not None:
            raise unknown
        if values or len(outputs) != len(tensors):
            return Outputs(in_order(outputs, len(tensors), values))
        return outputs

    def _private(self, array: Any) -> Any:
        """A copy in ordinary memory. A boolean that is neither 0 nor 1 would lead numpy's masks out of their arrays."""
        self._counters.add_copied_out(array.nbytes)
        if array.dtype == bool:
            return np.asarray(array.view(np.uint8) != 0)  # an array, also where it has no dimensions
        return array.copy()

    def reclaim(self) -> None:
        """Take back what the worker has returned. Safe for many threads. Raises ``ProtocolError``."""
        self._mail.reclaim(self._lent)

    def close(self) -> None:
        """The worker is dead: everything is ours again."""
        self._lent.clear()

    def _refusal(self, call: Call, kind: int) -> Exception:
        """Why the worker did not run a call. Raises ``ProtocolError`` where it had no reason."""
        overdue = 0 < call.deadline_ns <= time.monotonic_ns()
        if not overdue and not (kind == records.CANCELLED and call.marked):
            raise ProtocolError(f"it refused call {call.id}, which was wanted")
        if kind == records.CANCELLED and not overdue:
            return CancelledError()  # RACE undecided mark: Ctrl-C came before it was said whether the call runs
        return timeout_error(self._name, call.timeout, "waiting in line for the worker", None)

    def _error_of(self, kind: int, values: dict[str, Any]) -> IsopodError:
        failure = values.get("error")
        if kind == records.FULL:
            return arena_error(self._name, failure)
        return model_error(self._name, failure, "in a call")

    def _note_held(self, call: Call, held: Any) -> None:
        if held is None:
            return
        if type(held) is not list or len(set(map(repr, held))) != len(held):
            raise ProtocolError("its list of held inputs has the wrong form")
        for number in held:
            if type(number) is not int or not 0 <= number < len(call.tensors):
                raise ProtocolError("it holds an input that it was not given")
            expose(call.kept[number])
            self._lent.add(call.tensors[number], call.kept[number])

    def _count(self, copied: Any) -> None:
        """What the worker copied of a call's inputs."""
        if type(copied) is not int or copied < 0:
            raise ProtocolError("it says in the wrong form what it copied")
        if copied:
            self._counters.add_copied_in(copied)

    def _check_owed(self, owed: int) -> None:
        """A worker takes back all that is in the ring after each answer."""
        self._growths += owed > self._owed_before
        self._owed_before = owed
        if self._growths > _MOST_GROWTHS:
            raise ProtocolError(f"it lends more and more, and has yet to take {owed} blocks back")

    def _check_early(self, call: Call) -> None:
        """What came back before this answer must have been declared in it, or belong to another call."""
        for item in call.tensors:
            key = (item.segment, item.block)
            if self._lent.early.get(key, 0) > self._in_flight(key) - call.uses(key):
                raise ProtocolError(f"block {key[1]} of segment {key[0]} came back twice")
