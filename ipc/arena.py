"""The arena: blocks of shared memory for one direction's tensors, handed out and taken back by the side that writes.

All bookkeeping is private to that side: nothing of it lies in shared memory, where the other side could change it. A
freed block is used again first by the next request of its size, since its pages are warm: 16 MB into fresh pages
takes ten times as long. What does not match is carved from free extents; when there are none, the freed blocks are
melted back into extents; when that does not help, the arena grows by a segment, up to its limit; and then it waits
for somebody to let go, and says who did not.

What was grown for a load goes when the load is gone. ``trim``, called now and then, compares what was needed since the
time before last with what there is: a segment too many is *retired*, which means that nothing is given out of it any
more, and let go once its last block is free. So one small array does not pin what a burst has left.
"""

from __future__ import annotations

import bisect
import queue
import threading
import time
from typing import Callable

from isopod.ipc.errors import ArenaFull, Closed
from isopod.ipc.layout import ALIGNMENT, round_up
from isopod.ipc.segment import HUGE, Segment

FIRST_SEGMENT = 1 << 20  # bytes: an arena begins with it, and such a one always stays
_SPARE = 2  # times what was needed: so much stays
_POPULATE_AHEAD = 4 << 20  # bytes of a new segment that are provided at once
_POLL = 0.002  # seconds between looks at the return rings while the arena is full


class Block:
    """A piece of one segment. ``key`` names it on the wire: (segment index, offset / ALIGNMENT).

    ``spare``: nobody uses it, but whoever has it keeps it for now. It counts as free.
    """

    __slots__ = ("home", "label", "offset", "size", "spare")

    def __init__(self, home: ArenaSegment, offset: int, size: int) -> None:
        self.home = home
        self.offset = offset
        self.size = size
        self.label = ""
        self.spare = False


class ArenaSegment:
    """One segment of an arena with its free extents, sorted by offset."""

    __slots__ = ("extents", "provided", "retired", "segment")

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.retired = False
        self.provided = 0  # bytes from its start on whose pages are there
        self.extents: list[tuple[int, int]] = [(0, segment.size // ALIGNMENT * ALIGNMENT)]

    def carve(self, size: int) -> int:
        """Take ``size`` bytes from the first extent that has them; -1 if none has."""
        for index, (offset, length) in enumerate(self.extents):
            if length >= size:
                if length == size:
                    del self.extents[index]
                else:
                    self.extents[index] = (offset + size, length - size)
                return offset
        return -1

    def provide(self, end: int) -> None:
        """Have the pages before ``end`` there: all at once takes half as long as one by one, as they are touched."""
        if end > self.provided:
            self.provided = self.segment.populate(self.provided, end)

    def fits(self, size: int) -> bool:
        return any(length >= size for _, length in self.extents)

    def melt(self, offset: int, size: int) -> None:
        """Put a piece back, joined with its neighbours."""
        extents = self.extents
        index = bisect.bisect_left(extents, (offset, 0))
        if index < len(extents) and extents[index][0] == offset + size:
            size += extents.pop(index)[1]
        if index and sum(extents[index - 1]) == offset:
            index -= 1
            start, length = extents.pop(index)
            offset, size = start, length + size
        extents.insert(index, (offset, size))


class Arena:
    """Blocks of memory up to ``limit`` bytes. ``grow(size)`` makes a segment or raises ``ArenaFull``.

    ``reclaim()``, where given, looks whether the other side has returned anything; ``drop_spares()`` frees blocks that
    are only kept because they may be of use. Safe for many threads; ``free`` may be called at any moment, even by the
    garbage collector in the middle of ``allocate``.
    """

    def __init__(
        self, grow: Callable[[int], Segment], limit: int, name: str, reclaim: Callable[[], None] | None = None
    ) -> None:
        self.segments: list[ArenaSegment] = []
        self._retired: list[ArenaSegment] = []
        self.limit = limit
        self.live: dict[int, Block] = {}  # by id of the block
        self._grow = grow
        self._name = name
        self._reclaim = reclaim
        self.drop_spares: Callable[[], None] = _nothing
        self._lock = threading.RLock()  # the collector may find a model to be garbage, and close, in mid-allocate
        self.closed = False
        # SimpleQueue.put is safe to call from a weak reference's callback, whatever lock is held just then.
        self._freed: queue.SimpleQueue[Block] = queue.SimpleQueue()
        # Let go when a block is freed: whoever waits for one takes it. The queue's own ``get(timeout)`` would not do:
        # up to Python 3.12 it never ends where its time is over before it sleeps, as when another takes the block.
        self._bell = threading.Lock()
        self._bell.acquire()
        self._warm: dict[int, list[Block]] = {}  # freed blocks by size, the last one freed at the end
        self._held = 0  # bytes of the blocks that are handed out
        self._peak = self._peak_before = 0  # the most of it since ``trim``, and between that and the one before

    @property
    def reserved(self) -> int:
        """Bytes of all segments."""
        return sum(home.segment.size for home in [*self.segments, *self._retired])

    def owns(self, segment: Segment) -> bool:
        """Whether blocks of this arena lie in it."""
        return any(home.segment is segment for home in [*self.segments, *self._retired])

    @property
    def used(self) -> int:
        """Bytes of all blocks that are handed out."""
        with self._lock:
            self._collect()
            return sum(block.size for block in self.live.values() if not block.spare)

    def allocate(self, nbytes: int, label: str, deadline_ns: int = 0) -> Block:
        """A block of at least ``nbytes`` bytes. Waits until ``deadline_ns`` where the arena is at its limit.

        A negative ``deadline_ns`` is so far from the moment at which it has to wait. Raises ``ArenaFull``, naming what
        holds the memory, if nothing was let go by then, and ``Closed``.
        """
        size = _size_class(nbytes)
        while True:
            with self._lock:
                if self.closed:
                    raise Closed(f"{self._name} is closed; load it again")
                block = self._take(size)
                if block is not None:
                    block.label = label
                    self.live[id(block)] = block
                    self._held += block.size
                    self._peak = max(self._peak, self._held)
                    return block
            if deadline_ns < 0:
                deadline_ns = time.monotonic_ns() - deadline_ns
            if size > self.limit or time.monotonic_ns() >= deadline_ns:
                raise ArenaFull(self._explain(nbytes, label))
            self._await_release(deadline_ns)

    def close(self) -> None:
        """Let all segments go; arrays that live keep their memory. Nothing can be allocated in them any more."""
        with self._lock:
            self.closed = True
            self._grow, self._reclaim = _no_growth, None  # whoever made us is let go, and is no garbage in a cycle
            homes, self.segments, self._retired = [*self.segments, *self._retired], [], []
            drop_spares, self.drop_spares = self.drop_spares, _nothing
            drop_spares()
            self._collect()
            self._warm.clear()
            self.live.clear()
        for home in homes:
            home.segment.close()

    def look(self) -> None:
        """See whether the other side has returned anything."""
        reclaim = self._reclaim
        if reclaim is not None:
            reclaim()

    def free(self, block: Block) -> None:
        if self.closed:  # a block in the queue would hold its segment for as long as somebody holds the arena
            self.live.pop(id(block), None)
            return
        self._freed.put(block)
        if self._bell.locked():
            try:
                self._bell.release()
            except RuntimeError:  # another thread was quicker
                return

    def _take(self, size: int) -> Block | None:
        self._collect()
        warm = self._warm.get(size)
        if warm:
            return warm.pop()
        if self._reclaim is not None:
            self._reclaim()
            self._collect()
            warm = self._warm.get(size)
            if warm:
                return warm.pop()
        block = self._carve(size)
        if block is None:
            self.drop_spares()
            self._collect()
        if block is None and self._warm:
            self._melt()
            block = self._carve(size)
        if block is None and self._enlarge(size):
            block = self._carve(size)
        return block

    def _collect(self) -> None:
        freed = self._freed
        while not freed.empty():
            try:
                block = freed.get_nowait()
            except queue.Empty:
                return
            self.live.pop(id(block), None)
            self._held -= block.size
            block.spare = False
            if block.home.retired:
                block.home.melt(block.offset, block.size)
            else:
                self._warm.setdefault(block.size, []).append(block)

    def _carve(self, size: int) -> Block | None:
        for home in reversed(self.segments):
            offset = home.carve(size)
            if offset >= 0:
                home.provide(offset + size)
                return Block(home, offset, size)
        return None

    def _melt(self) -> None:
        for blocks in self._warm.values():
            for block in blocks:
                block.home.melt(block.offset, block.size)
        self._warm.clear()

    def trim(self) -> list[Segment]:
        """Let go of what has not been needed for two turns, as far as it is free; which segments these were.

        Called now and then. Waits for nothing: where somebody is just about to grow, there is nothing to let go.
        """
        if not self._lock.acquire(False):
            return []
        try:
            if self.closed:
                return []
            if self._reclaim is not None:
                self._reclaim()
            self.drop_spares()
            self._collect()
            needed = _SPARE * max(self._peak, self._peak_before)
            self._peak, self._peak_before = self._held, self._peak
            self._retire(needed)
            busy = {id(block.home) for block in self.live.values()}
            free = [home for home in self._retired if id(home) not in busy]
            self._retired = [home for home in self._retired if id(home) in busy]
        finally:
            self._lock.release()
        for home in free:
            home.segment.close()
        return [home.segment for home in free]

    def _retire(self, needed: int) -> None:
        """Give nothing out any more of what is more than ``needed`` bytes, the largest segments first."""
        left = sum(home.segment.size for home in self.segments)
        for home in sorted(self.segments, key=lambda one: -one.segment.size):
            size = home.segment.size
            # The last one, or the last but small ones, goes too, if it is far too large: it comes back as a small one.
            if size > FIRST_SEGMENT and (left - size >= needed or size >= 2 * max(needed, FIRST_SEGMENT)):
                home.retired = True
                left -= size
        if any(home.retired for home in self.segments):
            self._melt()
            self._retired += [home for home in self.segments if home.retired]
            self.segments = [home for home in self.segments if not home.retired]

    def _revive(self, size: int) -> bool:
        """Use again what is not let go yet; whether there is room for ``size`` bytes now."""
        revived = self._retired
        for home in revived:
            home.retired = False
        self.segments += revived  # first: ``owns`` is asked without the lock
        self._retired = []
        return any(home.fits(size) for home in revived)

    def _enlarge(self, size: int) -> bool:
        room, active = self.limit - self.reserved, sum(home.segment.size for home in self.segments)
        # A load that comes back finds what is warm; a small block must not be what keeps a large segment.
        if self._retired and (size > FIRST_SEGMENT or room < FIRST_SEGMENT) and self._revive(size):
            return True
        if size > room:
            return False
        wanted = max(size, FIRST_SEGMENT, min(active, 256 << 20))
        try:
            segment = self._grow(min(round_up(wanted, HUGE if wanted >= HUGE else 4096), max(room, size)))
        except ArenaFull:
            return False  # refused; something may still be let go
        home = ArenaSegment(segment)
        home.provide(min(segment.size, max(size, _POPULATE_AHEAD)))
        self.segments.append(home)
        return True

    def _await_release(self, deadline_ns: int) -> None:
        self._bell.acquire(timeout=max(0.0, min(_POLL, (deadline_ns - time.monotonic_ns()) / 1e9)))

    def _explain(self, nbytes: int, label: str) -> str:
        holders: dict[str, list[int]] = {}
        for block in list(self.live.values()):
            if not block.spare:
                holders.setdefault(block.label, []).append(block.size)
        ranked = sorted(holders.items(), key=lambda item: -sum(item[1]))[:4]
        named = ", ".join(f"{who} ({len(sizes)} arrays, {mib(sum(sizes))})" for who, sizes in ranked)
        return (
            f"{self._name}: no room for {mib(nbytes)} of {label} in shared memory (limit {mib(self.limit)}); "
            f"held by {named or 'nobody'}. "
            "Let arrays go that you no longer need, or load the model with a larger memory_limit."
        )


def _no_growth(_: int) -> Segment:
    raise ArenaFull("the arena is closed")


def _nothing() -> None:
    """What an arena drops whose owner keeps nothing, or that is closed."""


def mib(nbytes: int) -> str:
    """A size as a person reads it."""
    return f"{nbytes >> 10} KiB" if nbytes < 1 << 20 else f"{nbytes / (1 << 20):.1f} MiB"


def _size_class(nbytes: int) -> int:
    """Round up to four steps an octave, so that nearly equal sizes share warm blocks; at most a quarter is wasted."""
    if nbytes <= 4 * ALIGNMENT:
        return max(ALIGNMENT, round_up(nbytes, ALIGNMENT))
    return round_up(nbytes, 1 << ((nbytes - 1).bit_length() - 3))
