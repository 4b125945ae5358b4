"""What a fuzzer aims at: four functions from bytes, one for each reader of the wire.

Whatever the bytes are, each may raise ``ProtocolError`` and nothing else; a worker may also find an input that it
cannot have, which is a ``SpecError`` and becomes its answer. Memory must stay bounded; ``measured`` says how much it
took.
"""

from __future__ import annotations

import itertools
import socket
import tracemalloc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from isopod.ipc import channel, layout, protocol
from isopod.ipc import record as records
from isopod.ipc.arena import Arena
from isopod.ipc.errors import ProtocolError, SpecError
from isopod.ipc.lent import Borrowed, Lent
from isopod.ipc.protocol import CHILD, PARENT, TRANSITIONS, Conversation, Message
from isopod.ipc.segment import Segment
from isopod.ipc.transfer import ArenaOwner, Inbound, in_order
from isopod.runtime.calls import Call
from isopod.runtime.control import Control, checked_interface
from isopod.runtime.deaths import load_error
from isopod.runtime.intake import Intake
from isopod.runtime.logs import checked_record
from isopod.runtime.mailboxes import Mailboxes
from isopod.runtime.sandbox.look import _confined
from isopod.runtime.stats import Counters

MEMORY_LIMIT = 8 << 20
STATES = sorted({state for state, _ in TRANSITIONS})


class _Process:
    """A worker's process, as far as its channel goes."""

    def __init__(self) -> None:
        self.control, self.other = socket.socketpair()
        self.control.setblocking(False)


class Wire:
    """A parent with a call in flight, and a child with the same memory. Made once, used for many bytes."""

    def __init__(self) -> None:
        self.process = _Process()
        self.mail = Mailboxes(protected=True)
        self.segment = Segment.create(1 << 20, protected=True)
        self.outbox = Segment.create(1 << 20)
        self.control = Control(cast("Any", self.process), lambda _: None, lambda _: True, only_own=True)
        self.control._conversation.state = "ready"
        self.index = self.control.index_of(self.segment) or 0
        self.control.give_outbox(self.outbox)
        self.counters = Counters()
        self.intakes = itertools.cycle([self._intake(copies) for copies in (False, True)])
        self.owner = ArenaOwner(Arena(lambda _: self.segment, 1 << 20, "the fuzzed model"))
        self.input = self.owner.empty((16,), np.float64, "x")
        self._segments = {1: self.segment, 2: self.outbox}

    def segment_of(self, index: int) -> Segment:
        """As the child knows them."""
        if index not in self._segments:
            raise ProtocolError(f"segment {index} is not known")
        return self._segments[index]

    def _intake(self, copies: bool) -> Intake:
        uses: Callable[[Any], int] = lambda _: 0  # noqa: E731
        return Intake("fuzzed", self.mail, self.control, self.counters, uses, memory_limit=MEMORY_LIMIT, copies=copies)

    def call(self) -> Call:
        call = Call(0, None, None, threaded=False)
        call.tensors = [records.Tensor("x", 12, (16,), self.index, 0, 0, 128)]
        call.kept = [self.input]
        return call

    def close(self) -> None:
        del self.input
        self.owner.arena.close()
        self.mail.close()
        self.outbox.close()
        self.segment.close()
        self.process.control.close()
        self.process.other.close()


def parent_control(_: Wire, data: bytes) -> None:
    """Frames of a child, from any state on, and what the parent then does with each message."""
    talk = Conversation(PARENT)
    talk.state = STATES[data[0] % len(STATES)] if data else "spawned"
    frames = channel.FrameBuffer()
    for frame in frames.feed(data[1:]):
        _heard(talk.received(frame))


def _heard(message: Message) -> None:
    fields = message.fields
    if message.name == "ready":
        checked_interface(fields)
    elif message.name == "failed":
        load_error("fuzzed", "nowhere", fields["culprit"], fields["error"])
    elif message.name == "log":
        checked_record(fields)
    elif message.name == "guarded":
        status = {"Seccomp": "2", "Seccomp_filters": "2", "Threads": "1"}
        _confined("fuzzed", status, {}, fields["done"])


def parent_record(wire: Wire, data: bytes) -> None:
    """A record of a child, and the outputs or the error that become of it, with and without copying."""
    call, intake = wire.call(), next(wire.intakes)
    intake.take(data, SimpleNamespace(get=lambda _: call))
    for value in (call.outputs or {}).values():
        if isinstance(value, np.ndarray):
            assert value.nbytes <= MEMORY_LIMIT
            assert not value.dtype.hasobject or all(isinstance(item, str) for item in value.ravel().tolist()[:64])
            value.sum() if value.dtype.kind in "fiu" else value.tolist()  # every byte of it can be read


def child_control(_: Wire, data: bytes) -> None:
    """Frames of a parent, from any state on."""
    talk = Conversation(CHILD)
    talk.state = STATES[data[0] % len(STATES)] if data else "spawned"
    frames = channel.FrameBuffer()
    for frame in frames.feed(data[1:]):
        talk.received(frame)


def child_record(wire: Wire, data: bytes) -> None:
    """A record of a parent, and the inputs that become of it."""
    writer = _NoReturns()
    borrowed = Borrowed(writer, by_answer=True)  # type: ignore[arg-type]
    borrowed.forked = True
    inbound = Inbound(wire.segment_of, lambda index: index == 2, borrowed)
    call = records.decode(data)
    if call.spilled:
        call = records.decode(inbound.spilled(call.tensors[0])) if call.tensors else call
    in_order({item.name: inbound.array(item, Lent()) for item in call.tensors}, len(call.tensors), call.plain)


class _NoReturns:
    waiting = ()


TARGETS: dict[str, Callable[[Wire, bytes], None]] = {
    one.__name__: one for one in (parent_control, parent_record, child_control, child_record)
}


def hit(name: str, wire: Wire, data: bytes) -> None:
    """Aim those bytes at a target; anything but what is allowed to come out goes on to whoever asked."""
    try:
        TARGETS[name](wire, data)
    except ProtocolError:
        return
    except SpecError:
        if name != "child_record":
            raise


def measured(name: str, wire: Wire, data: bytes) -> int:
    """The same; the most memory that it took at a time, in bytes."""
    tracemalloc.start()
    try:
        hit(name, wire, data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def seeds(name: str) -> list[bytes]:
    """Honest bytes, for a fuzzer to begin with."""
    if name.endswith("record"):
        kind, segment = (records.CALL, 1) if name.startswith("child") else (records.RESULT, 2)
        tensor = records.Tensor("y", 12, (16,), segment, 0, 0, 128)
        found = [
            records.encode(kind, 7, (0, 1, 2, 3, 4), [tensor]),
            records.encode(kind, 7, (0, 1, 2, 3, 4), [tensor._replace(dtype=42, nbytes=24, shape=(2,))]),
            records.encode(
                kind, 7, (0, 1, 2, 3, 4), [tensor._replace(name="x", segment=1)], {"values": [[0, "a", {}]]}
            ),
            records.encode(kind, 7, (0, 1, 2, 3, 4), [tensor], flags=records.SPILLED),
        ]
        if kind == records.RESULT:
            error = {"type": "E", "message": "m", "traceback": "t", "missing": "", "culprit": "model"}
            found.append(
                records.encode(records.RAISED, 7, (0, 1, 2, 3, 4), [], {"error": error, "held": [0], "copied": 9})
            )
        return found
    examples: dict[str, dict[str, Any]] = {
        "hello": {"version": 2, "pid": 1, "python": "3.7.1"}, "guarded": {"done": {"landlock": "", "refused": []}},
        "ready": {"inputs": [{"name": "x", "required": True}], "outputs": [], "open": False, "timings": {"load": 0.1}},
        "grow": {"nbytes": 4096}, "bye": {}, "attach": {"version": 2}, "segment": {"index": 1, "outbox": False},
        "forget": {"index": 1}, "proceed": {}, "refuse": {"nbytes": 1}, "drain": {}, "trim": {},
        "shed": {"indices": [2]},
    }  # fmt: skip
    sender = PARENT if name.startswith("child") else CHILD
    found = []
    for message, fields in examples.items():
        if protocol.FORMS[message].sender == sender:
            state = next(state for state, said in TRANSITIONS if said == message)
            frame = protocol.encode(Message(message, fields))
            found.append(bytes([STATES.index(state)]) + channel.framed(frame))
    assert all(len(one) < layout.MAX_FRAME for one in found)
    return found
