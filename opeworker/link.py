"""The child's end of everything that it shares with its parent: segments, doorbells, and the control channel.

``connect`` speaks the hand-shake on the main thread. Afterwards one thread listens to the channel, for new segments,
for the order to drain, and for its end: the end of the channel is the parent's death, and this process follows.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from typing import Any, Callable, Dict, List

from isopod.ipc import layout, protocol, ring
from isopod.ipc.doorbell import ChildDoorbell
from isopod.ipc.errors import ArenaFull, ProtocolError
from isopod.ipc.mailbox import Receiver
from isopod.ipc.notices import Cancellations, Progress
from isopod.ipc.protocol import Message
from isopod.ipc.segment import Segment
from isopod.opeworker.guard import hold
from isopod.opeworker.incoming import Incoming
from isopod.opeworker.outgoing import Outgoing

# ns: an idle worker wakes up this often for nothing. No ring is missed: where Ctrl-C keeps the sender from ringing, it
# ends this process.
_IDLE = 3_600_000_000_000
_SEGMENT_WAIT = 10.0  # seconds: the message is on its way when a record names the segment


class _Segments(Dict[int, Segment]):
    """Segments by number; for one that is not there yet, whoever waits for it is asked."""

    def __init__(self, missing: Callable[[int], Segment]) -> None:
        super().__init__()
        self._missing = missing

    def __missing__(self, index: int) -> Segment:
        return self._missing(index)


class Link:
    """One worker's connection to its parent."""

    def __init__(self, control: int) -> None:
        self._socket = socket.socket(fileno=control)
        self._socket.set_inheritable(False)
        conversation = protocol.Conversation(protocol.CHILD)
        self._incoming = Incoming(self._socket, conversation)
        self.outgoing = Outgoing(self._socket, conversation)
        self._changed = threading.Condition()
        self._refused = 0
        self._segments: dict[int, Segment] = _Segments(self._await_segment)
        self._indices: dict[int, int] = {}
        self._outbox: list[int] = []
        # The segment that a record speaks of, and whether it is of the outbox: asked for each tensor, without a detour.
        self.segment, self.is_own = self._segments.__getitem__, self._outbox.__contains__
        self._grown = 0  # segments of the outbox that ever came
        # Lets go of those that are not needed; the server's, once that is there.
        self.trim: Callable[[], List[Segment]] = list
        self.draining = False
        self.process = os.getpid()

    def connect(self) -> Message:
        """Hello, attach, and the load message."""
        self.send("hello", version=protocol.VERSION, pid=self.process, python=".".join(map(str, sys.version_info[:3])))
        return self._await("load")

    def await_proceed(self) -> None:
        """Until the parent has seen that the lock holds. It may hand segments over meanwhile."""
        self._await("proceed")

    def _await(self, name: str) -> Message:
        """The next message of that name, on the only thread; what comes before it is done."""
        while True:
            message = self._incoming.next()
            if message.name == "attach":
                self._attach(message)
            elif message.name == "segment":
                self._add_segment(message)
            elif message.name == "forget":
                self._forget_segment(message.fields["index"])
            elif message.name == name:
                return message

    def _attach(self, message: Message) -> None:
        self.heard_ns = time.monotonic_ns()
        if message.fields["version"] != protocol.VERSION:
            raise ProtocolError(f"the parent speaks version {message.fields['version']} of the protocol")
        inbox, outbox, inbell, outbell = (self._incoming.take_descriptor() for _ in range(4))
        self._inbox, self._outbox_control = Segment.attach(inbox), Segment.attach(outbox)
        inbox_shape, outbox_shape = ring.read_control(self._inbox), ring.read_control(self._outbox_control)
        self.inbell, self.outbell = ChildDoorbell(inbell), ChildDoorbell(outbell)
        self.reader = ring.RecordReader(self._inbox, inbox_shape)
        self.receiver = Receiver(self.reader, self.inbell, _IDLE, os.getppid())
        self._writer = ring.RecordWriter(self._outbox_control, outbox_shape)
        self.slot = outbox_shape.payload
        self.progress = Progress(self._outbox_control)
        self.cancellations = Cancellations(self._inbox, inbox_shape)
        self.return_writer = ring.ReturnWriter(self._outbox_control, outbox_shape, self._inbox)
        self.return_reader = ring.ReturnReader(self._inbox, inbox_shape, self._outbox_control)

    def listen(self) -> None:
        """Start the thread that listens to the parent from now on."""
        threading.Thread(target=self._listen, name="isopod-control", daemon=True).start()

    def _listen(self) -> None:
        try:
            while True:
                message = self._incoming.next()
                with self._changed:
                    if message.name == "segment":
                        self._add_segment(message)
                    elif message.name == "forget":
                        self._forget_segment(message.fields["index"])
                    elif message.name == "refuse":
                        self._refused += 1
                    elif message.name == "trim":
                        self._shed(self.trim())
                    elif message.name == "drain":
                        self.draining = True
                        self.inbell.ring()
                    self._changed.notify_all()
        except (OSError, ProtocolError):
            hold.end_group()

    def send(self, message: str, **fields: Any) -> None:
        self.outgoing.send(message, **fields)

    def answer(self, record: bytes) -> None:
        """Publish one record and ring."""
        self._writer.write(record, layout.SENT_WORD)
        self.outbell.ring()

    def _await_segment(self, index: int) -> Segment:
        """The segment that a record speaks of, where the record has overtaken its message."""
        with self._changed:
            self._changed.wait_for(lambda: index in self._segments, _SEGMENT_WAIT)
            segment = self._segments.get(index)
        if segment is None:
            raise ProtocolError(f"segment {index} was never sent")
        return segment

    def index_of(self, segment: Segment) -> int | None:
        return self._indices.get(id(segment))

    def grow(self, size: int) -> Segment:
        """Ask the parent for another segment of the outbox. Raises ``ArenaFull`` where it refuses."""
        with self._changed:
            had, refused = self._grown, self._refused
            self.send("grow", nbytes=size)
            self._changed.wait_for(lambda: self._grown > had or self._refused > refused, _SEGMENT_WAIT)
            if self._grown == had:
                raise ArenaFull(f"the application has no more shared memory for outputs ({size} bytes)")
            return self._segments[self._outbox[-1]]

    def abandon(self) -> None:
        """In a process that the model forked: let go of what belongs to the worker."""
        self._socket.close()

    def _add_segment(self, message: Message) -> None:
        index = message.fields["index"]
        if index in self._segments or not 0 <= index < layout.MAX_SEGMENTS:
            raise ProtocolError(f"segment {index} was sent before or cannot be")
        segment = Segment.attach(self._incoming.take_descriptor())
        segment.close()  # the mapping has a descriptor of its own
        self._segments[index] = segment
        self._indices[id(segment)] = index
        if message.fields["outbox"]:
            self._outbox.append(index)
            self._grown += 1

    def _forget_segment(self, index: int) -> None:
        """Its last array is gone on the parent's side, so no record speaks of it any more.

        RACE half a gift: one that never came, or is forgotten already, is no fault. Ctrl-C kept the parent from more.
        """
        if index in self._outbox:
            raise ProtocolError(f"segment {index} cannot be forgotten")
        segment = self._segments.pop(index, None)
        if segment is not None:
            del self._indices[id(segment)]

    def _shed(self, segments: List[Segment]) -> None:
        """Forget segments of the outbox that the arena has let go of: no block of theirs is anywhere any more."""
        indices = [self._indices.pop(id(segment)) for segment in segments]
        for index in indices:
            self._outbox.remove(index)
            del self._segments[index]
        if indices:
            self.send("shed", indices=indices)
