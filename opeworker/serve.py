"""The request loop: one call at a time, on the main thread, until the parent says to drain.

Whatever a model does wrong becomes the answer of that call, and the next call works. Imported only after the
environment is active, because it needs numpy.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any, List

from isopod.ipc import record as records
from isopod.ipc.arena import Arena
from isopod.ipc.errors import ArenaFull, SpecError
from isopod.ipc.lease import lease_of, roots
from isopod.ipc.lent import Borrowed, Lent
from isopod.ipc.record import Record, Tensor
from isopod.ipc.segment import Segment
from isopod.ipc.transfer import ArenaOwner, Inbound, Outbound, in_order
from isopod.opeworker import context, failure
from isopod.opeworker.failure import BadValue
from isopod.opeworker.link import Link
from isopod.opeworker.outputs import name_outputs


class Server:
    """Answers calls with a model. Made before the model, whose constructor may already use shared memory."""

    def __init__(self, link: Link, memory_limit: int) -> None:
        self._link = link
        self._reclaiming = threading.Lock()
        owner = ArenaOwner(Arena(link.grow, memory_limit, "the worker", self._reclaim))
        self._lent = Lent(spent=owner.spent)
        self._borrowed = Borrowed(link.return_writer, by_answer=True)
        self._copied = self._copied_in = 0  # bytes, for the running call: of its outputs, and of its inputs
        self._inbound = Inbound(link.segment, link.is_own, self._borrowed, self._count_copy_in)
        self._arena = owner.arena
        link.trim = self._trim
        self._outbound = Outbound(owner, link.index_of, self._count_copy, self._may_refer)
        context._Running.owner = owner
        context._Running.copied_in = self._count_copy_in
        context._Running.progress, context._Running.cancellations = link.progress, link.cancellations

    def serve(self, model: Any) -> None:
        """Until the parent drains this worker."""
        receive, returned = self._link.receiver.receive, self._link.return_reader.ready
        while True:
            data = receive()
            if data is not None:
                self._answer(model, data)
                del data
                if returned():  # once the answer is on its way: nobody waits for this
                    self._reclaim()
            elif self._link.draining:
                return

    def _answer(self, model: Any, data: bytes) -> None:
        received = time.monotonic_ns()
        link = self._link
        number = link.receiver.taken
        link.progress.begun = number
        self._copied = self._copied_in = 0
        call = records.decode(data)
        deadline = call.stamps[0]
        expired = 0 < deadline <= received
        if expired or link.cancellations.refuses(number - 1, call.call):
            # Nobody wants it any more, so nothing of it is looked at.
            kind = records.EXPIRED if expired else records.CANCELLED
            self._reply(kind, call, (received, received, received, 0, 0), [], {})
            return
        if call.spilled:
            call = records.decode(self._inbound.spilled(call.tensors[0]))
        context._Running.call = (number - 1, call.call, deadline)
        tensors: list[Tensor] = []
        extra: dict[str, Any] = {}
        kind = records.RESULT
        started = finished = received
        inputs: Any = None
        returned: Any = None
        try:
            inputs = self._inputs(call)
            started = time.monotonic_ns()
            returned = model(inputs)
            finished = time.monotonic_ns()
            inputs = None
            tensors, extra = self._outputs(returned)
        except ArenaFull as error:
            kind, extra = records.FULL, {"error": failure.describe(error)}
        except BadValue as error:
            kind, extra = records.RAISED, {"error": failure.describe(error.args[0], error.args[1])}
        except BaseException as error:  # goes to the caller as ModelError, SystemExit and KeyboardInterrupt too
            kind, extra = records.RAISED, {"error": failure.describe(error)}
        if finished < started:
            finished = time.monotonic_ns()  # it raised
        inputs = returned = None
        if os.getpid() != link.process:
            os._exit(0)  # the model forked, and its child came back here: the answer is the original's to give
        self._reply(kind, call, (received, started, finished, 0, self._copied), tensors, extra)
        context._Running.call = None

    def _inputs(self, call: Record) -> dict[str, Any]:
        inputs: dict[str, Any] = {}
        borrowed, array_of, lent = self._borrowed, self._inbound.array, self._lent
        tensors = call.tensors
        try:
            for number, item in enumerate(tensors):
                array = array_of(item, lent)
                lease = roots.get(id(array))
                if lease is not None and lease.owner is borrowed:
                    borrowed.open[id(lease)] = (lease, number)
                elif lease_of(array) is not None:
                    array.flags.writeable = False  # an output that came back: what other workers cannot write to either
                inputs[item.name] = array
        except SpecError as error:
            raise BadValue(SpecError(f"input {tensors[len(inputs)].name}: {error}"), "input") from None
        return in_order(inputs, len(tensors), call.plain)

    def _outputs(self, returned: Any) -> tuple[list[Tensor], dict[str, Any]]:
        try:
            tensors, kept, extra = self._outbound.place_all(name_outputs(returned).items(), context.room_by())
        except SpecError as error:
            raise BadValue(error, "output") from None
        is_own, lend = self._link.is_own, self._lent.add
        for item, array in zip(tensors, kept):
            if is_own(item.segment):
                lend(item, array)
        return tensors, extra

    def _reply(
        self, kind: int, call: Record, stamps: records.Stamps, tensors: list[Tensor], extra: dict[str, Any]
    ) -> None:
        # The arrays of the call are gone from this frame's callers by now: what is still open, the model kept.
        told: dict[str, Any] = {}
        held = self._borrowed.still_held()
        if held:
            told["held"] = held
        if self._copied_in:
            told["copied"] = self._copied_in
        extra.update(told)
        try:
            answer = records.encode(kind, call.call, stamps, tensors, extra)
        except SpecError as error:
            self._take_back(tensors)
            kind, tensors, extra = records.RAISED, [], {"error": failure.describe(error, "output"), **told}
            answer = records.encode(kind, call.call, stamps, tensors, extra)
        if len(answer) > self._link.slot:
            try:
                item, array = self._outbound.spill(answer, context.room_by() if kind == records.RESULT else 0)
                self._lent.add(item, array)
                answer = records.encode(kind, call.call, stamps, [item], flags=records.SPILLED)
            except ArenaFull as error:
                self._take_back(tensors)
                if kind == records.RESULT:
                    kind, extra = records.FULL, {"error": failure.describe(error), **told}
                answer = records.encode(kind, call.call, stamps, [], {**extra, "error": failure.brief(extra["error"])})
        self._borrowed.flush()
        self._link.answer(answer)

    def let_go_after_fork(self) -> None:
        """In a process that the model forked: memory, and what was borrowed, are the worker's."""
        self._borrowed.forked = True
        context._Running.owner = None
        context._Running.progress = None

    def _take_back(self, tensors: list[Tensor]) -> None:
        """Outputs that were placed and are not sent after all."""
        for item in tensors:
            if self._link.is_own(item.segment):
                self._lent.release((item.segment, item.block))

    def _may_refer(self, array: Any) -> bool:
        """Whether an output may point into an input: only into one of this very call, which the parent still has.

        An input that was kept from an earlier call may be returned the moment that it is let go, before the answer is
        taken in; so it is copied.
        """
        lease = lease_of(array)
        return lease is None or lease.owner is not self._borrowed or id(lease) in self._borrowed.open

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
        if not self._link.return_reader.ready():
            return
        with self._reclaiming:
            for key in self._link.return_reader.take():
                self._lent.release(key)
