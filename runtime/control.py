"""The parent's end of one control channel: the hand-shake, new segments, and the order to drain.

``on_data`` runs on the monitor thread and never waits: the socket is non-blocking, and a worker that does not read what
it is sent is ended.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from isopod.ipc import channel, layout, protocol
from isopod.ipc.arena import FIRST_SEGMENT
from isopod.ipc.errors import ProtocolError
from isopod.ipc.protocol import Message
from isopod.ipc.segment import Segment
from isopod.ipc.spec import TensorSpec
from isopod.runtime.process import WorkerProcess

_FEW = 16  # segments of an outbox
_GROWTH_STEP = 256 << 20  # bytes: an arena need not grow by more than this at once


@dataclass(frozen=True)
class LoadOrder:
    """What the child is told to load: the fields of the ``load`` message."""

    name: str
    target: dict[str, Any]
    arguments: dict[str, Any]
    environment: dict[str, Any]
    memory_limit: int
    sandbox: dict[str, Any]


class Unreachable(ProtocolError):
    """The worker could not be given a segment: it is dead, or does not read its channel."""


class Control:
    """Speaks the protocol to one worker, and numbers the segments that the worker has been given.

    Segments for inputs are held weakly: an output of another model may be sent here, and its segment, which that
    model's worker wrote, must not live on because of that when that worker is dead. While an array in it is alive, on
    whichever side, the segment is, too; with the last of them the worker is told to forget it.

    ``owns(segment)`` says which segments are the model's own arena. Any other (another model's outputs or inputs, or
    what another worker of this one wrote) is handed over to be read only; ``only_own``: not at all, for it holds more
    than the arrays of this worker's calls.
    """

    def __init__(
        self,
        process: WorkerProcess,
        handle: Callable[[Message], None],
        owns: Callable[[Segment], bool],
        *,
        only_own: bool = False,
    ) -> None:
        self._process = process
        self._owns = owns
        self._only_own = only_own
        self._handle = handle
        self._conversation = protocol.Conversation(protocol.PARENT)
        self._frames = channel.FrameBuffer()
        self._lock = threading.RLock()
        self._inputs: dict[int, weakref.ref[Segment]] = {}
        self._outbox: dict[int, Segment] = {}
        self._indices: dict[int, int] = {}  # by id of the segment; an entry goes before its id can be used again
        self._given = 0  # how many segments it has ever had
        self._shed: weakref.WeakSet[Segment] = weakref.WeakSet()  # of the outbox, that the worker has let go of
        self.grown: Callable[[], None] = _nobody  # is told when the outbox has grown
        self.flush: Callable[[], None] = _nobody  # has what the application let go of told to the worker
        self._gone: deque[int] = deque()  # numbers of segments that the worker is yet to forget

    def close(self) -> None:
        """The worker is dead: what it said is heard, and whoever listened is let go."""
        self._handle = _unheard

    def on_data(self, data: bytes) -> None:
        """Take in what the worker wrote. Raises ``ProtocolError``."""
        for frame in self._frames.feed(data):
            message = self._conversation.received(frame)
            if message.name == "shed":
                self._take_back(message.fields["indices"])
            else:
                self._handle(message)

    def send(self, message: str, descriptors: Sequence[int] = (), /, **fields: Any) -> None:
        """Say something. Raises ``OSError`` where the worker is dead or does not listen, ``ProtocolError``."""
        with self._lock:
            frame = self._conversation.sending(Message(message, fields))
            channel.send_frame(self._process.control, frame, descriptors)

    def attach(
        self, descriptors: Sequence[int], segments: Sequence[Segment], order: LoadOrder, log_level: int = 0
    ) -> None:
        """Answer a hello: everything that is shared, what to load, and from which level on its log is wanted."""
        with self._lock:
            self.send("attach", descriptors, version=protocol.VERSION)
            for segment in segments:
                self.index_of(segment)
            self.send(
                "load",
                name=order.name,
                target=order.target,
                arguments=order.arguments,
                environment=order.environment,
                memory_limit=order.memory_limit,
                log_level=log_level,
                sandbox=order.sandbox,
            )

    def index_of(self, segment: Segment) -> int | None:
        """The worker's number for a segment, which is handed over if it does not have it yet; None if it cannot be."""
        if self._gone:
            self._forget()
        index = self._indices.get(id(segment))
        if index is not None:
            return index
        if self._only_own and not self._owns(segment):
            return None
        with self._lock:
            return self._indices.get(id(segment)) or self._give(segment, outbox=False)

    def give_outbox(self, segment: Segment) -> None:
        """Hand over a segment that the worker writes its outputs into."""
        with self._lock:
            self._give(segment, outbox=True)

    def grow_outbox(self, nbytes: int, limit: int) -> None:
        """Give the worker another segment for its outputs, or refuse it. ``limit`` bounds all of them, in bytes."""
        used = sum(segment.size for segment in self.outbox())
        room = limit - used - sum(segment.size for segment in self._shed)
        # An honest arena grows by as much as it uses, up to a step: tiny segments would use up our descriptors. Of what
        # it has some may be about to be given back, so the first few can be of any size.
        least = 1 if len(self._outbox) < _FEW else max(1, min(used, _GROWTH_STEP, room))
        if not least <= nbytes <= room:
            self.send("refuse", nbytes=nbytes)
            return
        try:
            segment = Segment.create(nbytes, "isopod-outputs", shareable=True)
        except OSError:  # the machine has no more: the same answer
            self.send("refuse", nbytes=nbytes)
            return
        self.give_outbox(segment)
        self.grown()

    def trim(self) -> None:
        """Tell the worker which of our segments are no more, and have it give back what it does not need of its own.

        Raises ``OSError`` where it is dead or does not listen, ``ProtocolError``.
        """
        self.flush()
        self._forget()
        # What has used up half of its numbers keeps the rest for growth: no number is given twice.
        if self.trims and self._given < layout.MAX_SEGMENTS // 2:
            self.send("trim")

    @property
    def trims(self) -> bool:
        """Whether there may be anything of the worker's to give back."""
        return sum(segment.size for segment in self.outbox()) > FIRST_SEGMENT

    def _take_back(self, indices: list[Any]) -> None:
        """The worker has let go of segments of its outbox. An array in one that it had no right to keeps the memory,
        which then counts on. Raises ``ProtocolError``.
        """
        for index in indices:
            segment = self._outbox.pop(index, None) if type(index) is int else None
            if segment is None:
                raise ProtocolError(f"it let go of segment {index!r:.40}, which is not of its outbox")
            self._indices.pop(id(segment), None)
            self._shed.add(segment)
            segment.close()

    def _give(self, segment: Segment, *, outbox: bool) -> int | None:
        # RACE early record: a record may overtake this message, and a number that is used again would then be taken for
        # the old segment's. So each has a number of its own.
        index = self._given + 1
        if index >= layout.MAX_SEGMENTS:
            return None
        with contextlib.ExitStack() as given:
            try:  # another model's segment may be closed at this very moment
                # What lies in another worker's outbox came from that worker: it has mapped it, as ``reader`` asks.
                give = segment.duplicate if outbox or self._owns(segment) else segment.reader
                given.callback(os.close, descriptor := give())
            except OSError:
                return None
            self._given = index
            # Known here before it is known there: the worker may answer with it while this thread is still sending.
            # RACE half a gift: Ctrl-C may come before it is sent, or before that is noted below, and then it is given
            # once more. With its end the worker is told to forget all numbers that it had, or was to have.
            if outbox:
                self._outbox[index] = segment
            else:
                self._inputs[index] = weakref.ref(segment, _noting(self._indices, id(segment), self._gone, index))
            self._tell("segment", (descriptor,), index=index, outbox=outbox)
        self._indices[id(segment)] = index
        return index

    def _tell(self, message: str, descriptors: Sequence[int] = (), /, **fields: Any) -> None:
        try:
            self.send(message, descriptors, **fields)
        except (OSError, ProtocolError) as error:
            raise Unreachable("it does not read its control channel") from error

    def _forget(self) -> None:
        """Have the worker let go of segments that are no more. Raises ``Unreachable``."""
        with self._lock:
            while self._gone:
                index = self._gone[0]
                self._tell("forget", index=index)
                self._inputs.pop(index, None)
                self._gone.popleft()  # last: if Ctrl-C comes before, it is forgotten twice

    def segment(self, index: int) -> Segment:
        """The segment of that number. Raises ``ProtocolError`` if the worker does not have it."""
        segment = self._outbox.get(index) or self._inputs.get(index, _no_segment)()
        if segment is None:
            raise ProtocolError(f"segment {index} is not known")
        return segment

    def is_ours(self, index: int) -> bool:
        """Whether the blocks of a segment are handed out on this side."""
        return index not in self._outbox

    def outbox(self) -> list[Segment]:
        return list(self._outbox.values())


def _no_segment() -> None:
    """The place of a segment that is not there."""


def _noting(indices: dict[int, int], key: int, gone: deque[int], index: int) -> Callable[[object], None]:
    """What the end of a segment calls: at any moment, in any thread, so it waits for nothing."""

    def note(_: object) -> None:
        indices.pop(key, None)
        gone.append(index)

    return note


def _nobody() -> None:
    """Nobody wants to know."""


def _unheard(_: Message) -> None:
    """Nobody listens any more."""


def checked_interface(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a ``ready`` message, with the forms that the table of messages does not go into.

    Raises ``ProtocolError`` unless inputs and outputs are described as such and the timings are seconds.
    """
    for side in ("inputs", "outputs"):
        for item in fields[side]:
            TensorSpec.of(item)
    if any(type(seconds) is not float for seconds in fields["timings"].values()):
        raise ProtocolError("its timings have the wrong form")
    return fields
