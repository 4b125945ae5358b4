"""The two rings of a control segment: records one way, returned blocks the other.

Single producer, single consumer. Nothing here is ever full without somebody being at fault: a record needs a *credit*
(an unanswered call), and there are as many slots as credits, so no consumer has to report how far it has read. Returns
have a cursor for that, since blocks may come back at any time.

A producer writes the payload, then the slot's sequence number, then rings; a consumer looks for the number it
expects. Reading copies the record out of shared memory once, and only the copy is ever parsed: its writer can change
the original while it is being checked.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Iterator

from isopod.ipc import layout
from isopod.ipc.errors import ProtocolError
from isopod.ipc.layout import Layout
from isopod.ipc.segment import Segment


def format_control(segment: Segment, shape: Layout) -> None:
    """Write the header of a new control segment."""
    layout.HEADER.pack_into(segment.map, 0, layout.MAGIC, layout.VERSION, shape.slots, shape.slot_size, shape.returns)


def read_control(segment: Segment) -> Layout:
    """The layout of a control segment that another process made. Raises ``ProtocolError`` if it is not one of ours."""
    magic, version, slots, slot_size, returns = layout.HEADER.unpack_from(segment.map, 0)
    shape = Layout(slots, slot_size, returns)
    if magic != layout.MAGIC or version != layout.VERSION or shape.size > segment.size:
        raise ProtocolError("a control segment has the wrong magic, version or size")
    return shape


class RecordWriter:
    """The producing end of a record ring. The caller holds a lock and a credit."""

    __slots__ = ("_map", "_next", "_starts", "_words")

    def __init__(self, segment: Segment, shape: Layout) -> None:
        self._map = segment.map
        self._words = memoryview(segment.map)[: shape.size].cast("Q")
        self._starts = _starts(shape)
        self._next = 0

    def write(self, record: bytes, stamped: int = -1) -> int:
        """Publish one record of at most ``Layout.payload`` bytes; returns its number, counted from 0.

        ``stamped`` is the word of the record, if any, that takes the moment at which it is published.
        """
        number, words = self._next, self._words
        start = self._starts[number % len(self._starts)]
        size = len(record)
        self._map[start + 16 : start + 16 + size] = record
        if stamped >= 0:
            words[start // 8 + 2 + stamped] = time.monotonic_ns()
        # SYNC POINT record: length and payload before the sequence number; x86 keeps the order of stores, and
        # everywhere else the doorbell, through which every record is consumed, does.
        words[start // 8 + 1] = size
        self._next = number + 1
        words[start // 8] = number + 1
        return number


class RecordReader:
    """The consuming end of a record ring. ``taken`` is how many records were read."""

    __slots__ = ("_map", "_payload", "_starts", "_words", "taken", "word")

    def __init__(self, segment: Segment, shape: Layout) -> None:
        self._map = segment.map
        self._words = memoryview(segment.map)[: shape.size].cast("Q")
        self._starts = _starts(shape)
        self._payload = shape.payload
        self.taken = 0
        self.word = layout.SLOTS_OFFSET // 8

    def ready(self) -> bool:
        """Whether the next record seems to be there: a hint, to spin on."""
        return self._words[self.word] == self.taken + 1

    def spin(self, clock: object, until_ns: int) -> bool:
        """Look for the next record until ``until_ns``. Kept here, and flat, because each turn of it counts."""
        words, word, wanted = self._words, self.word, self.taken + 1
        while words[word] != wanted:
            if clock() > until_ns:  # type: ignore[operator]
                return False
        return True

    def read(self) -> bytes | None:
        """Copy the next record out, or None if there is none.

        Raises ``ProtocolError`` where its length is impossible. SYNC POINT record: the caller has been through the
        doorbell.
        """
        words, word, wanted = self._words, self.word, self.taken + 1
        if words[word] != wanted:
            return None
        size = words[word + 1] & 0xFFFFFFFF
        if size > self._payload:
            raise ProtocolError(f"a record claims {size} bytes in a slot of {self._payload}")
        start = word * 8 + 16
        record: bytes = self._map[start : start + size]
        self.taken = wanted
        self.word = self._starts[wanted % len(self._starts)] // 8
        return record


def _starts(shape: Layout) -> list[int]:
    """Where each slot begins."""
    return [layout.SLOTS_OFFSET + slot * shape.slot_size for slot in range(shape.slots)]


class ReturnWriter:
    """Gives borrowed blocks back. ``put`` may be called at any moment, even by the garbage collector.

    An entry is one word that carries the number of its pass through the ring, so a reader knows it by itself as new.
    """

    __slots__ = ("_base", "_cursor", "_returns", "_words", "_written", "waiting")

    def __init__(self, own: Segment, own_shape: Layout, other: Segment) -> None:
        self._words = memoryview(own.map)[: own_shape.size].cast("Q")
        self._base = own_shape.returns_offset // 8
        self._returns = own_shape.returns
        self._cursor = memoryview(other.map)[layout.CURSOR_OFFSET : layout.CURSOR_OFFSET + 8].cast("Q")
        self._written = 0
        self.waiting: deque[tuple[int, int]] = deque()

    def flush(self) -> bool:
        """Write what waits; False when the ring is full. One caller at a time: hold the lock."""
        waiting = self.waiting
        while waiting:
            turn, place = divmod(self._written, self._returns)
            if self._written - self._cursor[0] >= self._returns:
                return False  # the other side has not looked yet; what waits goes out with the next record
            segment, block = waiting.popleft()
            # SYNC POINT return: the block's last use, by whichever thread, happened before its entry came here
            # through the deque and the lock.
            self._words[self._base + place] = (turn + 1 & 0xFFFF) << 48 | segment << 32 | block
            self._written += 1
        return True


class ReturnReader:
    """Takes blocks back that the other side had borrowed."""

    __slots__ = ("_base", "_cursor", "_returns", "_taken", "_words")

    def __init__(self, other: Segment, other_shape: Layout, own: Segment) -> None:
        self._words = memoryview(other.map)[: other_shape.size].cast("Q")
        self._base = other_shape.returns_offset // 8
        self._returns = other_shape.returns
        self._cursor = memoryview(own.map)[layout.CURSOR_OFFSET : layout.CURSOR_OFFSET + 8].cast("Q")
        self._taken = 0

    def ready(self) -> bool:
        """Whether anything came back: a hint that costs little."""
        turn, place = divmod(self._taken, self._returns)
        return self._words[self._base + place] >> 48 == (turn + 1 & 0xFFFF)

    def take(self) -> Iterator[tuple[int, int]]:
        """Each block that came back, as (segment, block). SYNC POINT return."""
        words, base = self._words, self._base
        while True:
            turn, place = divmod(self._taken, self._returns)
            entry = words[base + place]
            if entry >> 48 != (turn + 1 & 0xFFFF):
                return
            self._taken += 1
            self._cursor[0] = self._taken
            yield entry >> 32 & 0xFFFF, entry & 0xFFFFFFFF
