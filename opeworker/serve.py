"""The request loop: one call at a time, on the main thread, until the parent says to drain.

Whatever a model does wrong becomes the answer of that call, and the next call works. Imported only after the
environment is active, because it needs numpy.
"""

from __future__ import annotations

import os
import time
from typing import Any, Dict, List, Sequence, Tuple

from isopod.ipc import record as records
from isopod.ipc.arena import Arena
from isopod.ipc.errors import ArenaFull, SpecError
from isopod.ipc.lease import Lease
from isopod.ipc.lent import Borrowed, Lent
from isopod.ipc.record import Tensor
from isopod.ipc.segment import Segment
from isopod.ipc.transfer import ArenaOwner, Inbound, Outbound, in_order
from isopod.opeworker import context, failure
from isopod.opeworker.failure import BadValue
from isopod.opeworker.link import Link
from isopod.opeworker.outputs import name_outputs

# Blocks that may be with the parent before it is looked which of them came back: that takes little longer for several
# than for one. Whoever needs another block looks first.
_AT_ONCE = 8

# The kind of an answer, its tensors, what else is in it, and when the model started and finished.
_Outcome = Tuple[int, Sequence[Tensor], Dict[str, Any], int, int]


class Server:
    """Answers calls with a model. Made before the model, whose constructor may already use shared memory."""

    def __init__(self, link: Link, memory_limit: int) -> None:
        self._link = link
        owner = ArenaOwner(Arena(link.grow, memory_limit, "the worker", self._reclaim))
        self._lent = Lent(spent=owner.spent)
        self._borrowed = Borrowed(link.return_writer, by_answer=True)
        self._copied = self._copied_in = 0  # bytes, for the running call: of its outputs, and of its inputs
        self._inbound = Inbound(link.segment, link.is_own, self._borrowed, self._count_copy_in)
        self._arena = owner.arena
        link.trim = self._trim
        self._outbound = Outbound(owner, link.index_of, self._count_copy, self._may_refer)
        context._running.owner = owner
        context._running.copied_in = self._count_copy_in
        context._running.progress, context._running.cancellations = link.progress, link.cancellations

    def serve(self, model: Any) -> None:
        """Until the parent drains this worker."""
        receive, lent = self._link.receiver.receive, self._lent
        while True:
            data = receive()
            if data is not None:
                self._answer(model, data)
                del data
                if len(lent.loans) + lent.repeats > _AT_ONCE:  # once the answer is on its way: nobody waits for this
                    self._reclaim()
            elif self._link.draining:
                return

    def _answer(self, model: Any, data: bytes) -> None:
        received = time.monotonic_ns()
        link = self._link
        record = link.reader.taken - 1
        _, call, stamps, sent, plain, spilled = records.fields_of(data)
        deadline = stamps[0]
        if not link.progress.begin(record, call, link.cancellations) or 0 < deadline <= received:
            # Nobody wants it any more, so nothing of it is looked at.
            kind = records.EXPIRED if 0 < deadline <= received else records.CANCELLED
            link.answer(records.encode(kind, call, (received, received, received, 0, 0), ()))
            return
        if spilled:
            sent, plain = records.fields_of(self._inbound.spilled(sent[0]))[3:5]
        self._copied = self._copied_in = 0
        running = context._running
        running.call = (record, call, deadline)
        kind, tensors, extra, started, finished = self._run(model, sent, plain, received, deadline)
        if os.getpid() != link.process:
            os._exit(0)  # the model forked, and its child came back here: the answer is the original's to give
        held = self._borrowed.still_held()  # the arrays of the call are gone by now, but for what the model kept
        told = self._told_of(sent, held) if held or self._copied_in else {}
        if told:
            extra = {**extra, **told}
        stamps = (received, started, finished, 0, self._copied)
        try:
            answer = records.encode(kind, call, stamps, tensors, extra)
        except SpecError as error:
            self._take_back(tensors)
            kind, tensors, extra = records.RAISED, (), {"error": failure.describe(error, "output"), **told}
            answer = records.encode(kind, call, stamps, tensors, extra)
        if len(answer) > link.slot:
            answer = self._spill(answer, kind, call, stamps, tensors, extra)
        self._borrowed.flush()
        link.answer(answer)
        running.call = None

    def _run(self, model: Any, sent: Sequence[Tensor], plain: dict[str, Any], received: int, deadline: int) -> _Outcome:
        """Have the model work on what was sent. Whatever goes wrong becomes its outcome."""
        started = finished = received
        inputs: dict[str, Any] = {}
        array_of, lent = self._inbound.array, self._lent
        blamed = "input"
        try:
            for item in sent:
                inputs[item.name] = array_of(item, lent)
            if plain or len(inputs) != len(sent):
                inputs = in_order(inputs, len(sent), plain)
            blamed = "model"
            started = time.monotonic_ns()
            returned = model(inputs)
            finished = time.monotonic_ns()
            blamed = "output"
            room_by = context.room_by() if deadline else context.ROOM
            tensors, kept, extra = self._outbound.place_all(name_outputs(returned).items(), room_by)
            is_own = self._link.is_own
            for item, array in zip(tensors, kept):
                if is_own(item.segment):
                    lent.add(item, array)
            return records.RESULT, tensors, extra, started, finished
        except ArenaFull as error:
            kind, extra = records.FULL, {"error": failure.describe(error)}
        except BaseException as error:  # goes to the caller as ModelError, SystemExit and KeyboardInterrupt too
            if isinstance(error, BadValue):
                told, blamed = error.args
            elif not isinstance(error, SpecError):
                told, blamed = error, "model"
            elif blamed == "input":
                told = SpecError(f"input {sent[len(inputs)].name}: {error}")
            else:
                told = error
            kind, extra = records.RAISED, {"error": failure.describe(told, blamed)}
            told = None  # or its traceback would keep this frame, and with it the inputs, until the collector comes
        return kind, (), extra, started, finished if finished >= started else time.monotonic_ns()

    def _told_of(self, sent: Sequence[Tensor], held: Sequence[Tensor]) -> dict[str, Any]:
        """What else an answer says: which inputs the model keeps, and how many bytes of them were copied."""
        told: dict[str, Any] = {}
        if held:
            told["held"] = [sent.index(item) for item in held]
        if self._copied_in:
            told["copied"] = self._copied_in
        return told

    def _spill(
        self,
        answer: bytes,
        kind: int,
        call: int,
        stamps: records.Stamps,
        tensors: Sequence[Tensor],
        extra: dict[str, Any],
    ) -> bytes:
        """What goes into the slot in place of an answer that is too long for it."""
        try:
            item, array = self._outbound.spill(answer, context.room_by() if kind == records.RESULT else 0)
        except ArenaFull as error:
            self._take_back(tensors)
            if kind == records.RESULT:
                kind, extra = records.FULL, {**extra, "error": failure.describe(error)}
                extra.pop("values", None)
            return records.encode(kind, call, stamps, (), {**extra, "error": failure.brief(extra["error"])})
        self._lent.add(item, array)
        return records.encode(kind, call, stamps, [item], flags=records.SPILLED)

    def let_go_after_fork(self) -> None:
        """In a process that the model forked: memory, and what was borrowed, are the worker's."""
        self._borrowed.forked = True
        context._running.owner = None
        context._running.progress = None

    def _take_back(self, tensors: Sequence[Tensor]) -> None:
        """Outputs that were placed and are not sent after all."""
        for item in tensors:
            if self._link.is_own(item.segment):
                self._lent.release((item.segment, item.block))

    def _may_refer(self, lease: Lease) -> bool:
        """Whether an output may point into an input: only into one of this very call, which the parent still has.

        An input that was kept from an earlier call may be returned the moment that it is let go, before the answer is
        taken in; so it is copied.
        """
        return lease.owner is not self._borrowed or lease.root_id in self._borrowed.open

    def _count_copy_in(self, nbytes: int) -> None:
        self._copied_in += nbytes

    def _trim(self) -> List[Segment]:
        """On the thread that listens to the parent: give back what nobody needs, of its memory and of ours."""
        self._borrowed.flush()
        return self._arena.trim()

    def _count_copy(self, nbytes: int) -> None:
        self._copied += nbytes

    def _reclaim(self) -> None:
        """Take back what the application has let go."""
        self._lent.take_back(self._link.return_reader.next)
