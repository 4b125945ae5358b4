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

    __slots__ = ("_count", "_map", "_next", "_slots", "_words")

    def __init__(self, segment: Segment, shape: Layout) -> None:
        self._map = segment.map
        self._words = _words(segment, 0, shape.size)
        self._slots, self._count = _slots(shape), shape.slots
        self._next = 0

    def write(self, record: bytes, stamped: int = -1) -> int:
        """Publish one record of at most ``Layout.payload`` bytes; returns its number, counted from 0.

        ``stamped`` is the word of the record, if any, that takes the moment at which it is published.
        """
        number, words = self._next, self._words
        slot = self._slots[number % self._count]
        start, size = slot * 8 + 16, len(record)
        self._map[start : start + size] = record
        if stamped >= 0:
            words[slot + 2 + stamped] = time.monotonic_ns()
        # SYNC POINT record: length and payload before the sequence number; x86 keeps the order of stores, and
        # everywhere else the doorbell, through which every record is consumed, does.
        words[slot + 1] = size
        self._next = words[slot] = number + 1
        return number


class RecordReader:
    """The consuming end of a record ring. ``taken`` is how many records were read."""

    __slots__ = ("_count", "_map", "_payload", "_slots", "_words", "taken", "word")

    def __init__(self, segment: Segment, shape: Layout) -> None:
        self._map = segment.map
        self._words = _words(segment, 0, shape.size)
        self._slots, self._count = _slots(shape), shape.slots
        self._payload = shape.payload
        self.taken = 0
        self.word = self._slots[0]

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
        self.word = self._slots[wanted % self._count]
        return record


def _words(segment: Segment, start: int, end: int) -> memoryview:
    """Part of a control segment as words, which are read and written whole."""
    return memoryview(segment.map)[start:end].cast("Q")


def _slots(shape: Layout) -> list[int]:
    """Where each slot begins, in words."""
    return [(layout.SLOTS_OFFSET + slot * shape.slot_size) // 8 for slot in range(shape.slots)]


class ReturnWriter:
    """Gives borrowed blocks back. An entry may come to ``waiting`` at any moment, even from the garbage collector.

    In the ring it is one word that carries the number of its pass through it, so a reader knows it by itself as new.
    Its place follows from how many there were: one number is all that changes, whatever line Ctrl-C hits.
    """

    __slots__ = ("_cursor", "_returns", "_words", "_written", "waiting")

    def __init__(self, own: Segment, own_shape: Layout, other: Segment) -> None:
        self._words = _words(own, own_shape.returns_offset, own_shape.cancellations_offset)
        self._returns = own_shape.returns
        self._cursor = _words(other, layout.CURSOR_OFFSET, layout.CURSOR_OFFSET + 8)
        self._written = 0
        self.waiting: deque[tuple[int, int]] = deque()

    def flush(self) -> bool:
        """Write what waits; False when the ring is full. One caller at a time: hold the lock."""
        waiting, returns = self.waiting, self._returns
        while waiting:
            written = self._written
            if written - self._cursor[0] >= returns:
                return False  # the other side has not looked yet; what waits goes out with the next record
            segment, block = waiting.popleft()
            # SYNC POINT return: the block's last use, by whichever thread, happened before its entry came here
            # through the deque and the lock.
            self._words[written % returns] = (written // returns + 1 & 0xFFFF) << 48 | segment << 32 | block
            self._written = written + 1
        return True


class ReturnReader:
    """Takes blocks back that the other side had borrowed."""

    __slots__ = ("_cursor", "_returns", "_taken", "_words")

    def __init__(self, other: Segment, other_shape: Layout, own: Segment) -> None:
        self._words = _words(other, other_shape.returns_offset, other_shape.cancellations_offset)
        self._returns = other_shape.returns
        self._cursor = _words(own, layout.CURSOR_OFFSET, layout.CURSOR_OFFSET + 8)
        self._taken = 0

    def ready(self) -> bool:
        """Whether anything came back: a hint that costs little."""
        taken, returns = self._taken, self._returns
        return self._words[taken % returns] >> 48 == (taken // returns + 1 & 0xFFFF)

    def next(self) -> tuple[int, int] | None:
        """The next block that came back, as (segment, block); None if there is none. SYNC POINT return."""
        taken, returns = self._taken, self._returns
        entry = self._words[taken % returns]
        if entry >> 48 != (taken // returns + 1 & 0xFFFF):
            return None
        self._taken = self._cursor[0] = taken + 1
        return entry >> 32 & 0xFFFF, entry & 0xFFFFFFFF

    def take(self) -> Iterator[tuple[int, int]]:
        """Each block that came back."""
        return iter(self.next, None)
