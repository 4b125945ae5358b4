"""The arena: blocks that never overlap, memory that is used again, and a limit that says who holds what."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
import strategies  # noqa: F401  (the profile)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, RuleBasedStateMachine, consumes, invariant, multiple, rule
from waits import GUARD

from isopod.ipc.arena import Arena, ArenaSegment, Block, mib
from isopod.ipc.errors import ArenaFull
from isopod.ipc.layout import ALIGNMENT
from isopod.ipc.segment import Segment

MIB = 1 << 20


class Segments:
    """Makes segments, and closes them in the end."""

    def __init__(self) -> None:
        self.made: list[Segment] = []

    def grow(self, size: int) -> Segment:
        self.made.append(Segment.create(size))
        return self.made[-1]

    def close(self) -> None:
        for segment in self.made:
            segment.close()
        self.made.clear()


@pytest.fixture
def segments() -> Iterator[Segments]:
    made = Segments()
    yield made
    made.close()


@pytest.fixture
def arena(segments: Segments) -> Iterator[Arena]:
    made = Arena(segments.grow, 4 * MIB, "model 'm'")
    yield made
    made.__dict__.clear()  # pytest keeps fixtures alive beyond the census, and each mapping has a descriptor


class ArenaMachine(RuleBasedStateMachine):
    """Allocates and frees in any order, within a limit that is soon reached."""

    blocks: Bundle[Block] = Bundle("blocks")

    def __init__(self) -> None:
        super().__init__()
        self.segments = Segments()
        self.arena = Arena(self.segments.grow, 6 * MIB, "the arena")
        self.live: list[Block] = []

    @rule(target=blocks, nbytes=st.integers(0, 5000) | st.integers(0, 2 * MIB))
    def allocate(self, nbytes: int) -> Block | MultipleResults[Block]:
        try:
            block = self.arena.allocate(nbytes, f"block {nbytes}")
        except ArenaFull:
            return multiple()
        assert block.size >= nbytes
        self.live.append(block)
        return block

    @rule(block=consumes(blocks))
    def free(self, block: Block) -> None:
        self.arena.free(block)
        self.live.remove(block)

    @rule()
    def trim(self) -> None:
        reserved, pinned = self.arena.reserved, {id(block.home.segment) for block in self.live}
        gone = self.arena.trim()
        assert self.arena.reserved == reserved - sum(segment.size for segment in gone)
        for segment in gone:
            assert id(segment) not in pinned
            assert segment.size > MIB
            with pytest.raises(OSError, match="closed"):
                segment.duplicate()

    @invariant()
    def live_blocks_are_apart_aligned_and_inside(self) -> None:
        taken: dict[int, list[tuple[int, int]]] = {}
        for block in self.live:
            assert block.offset % ALIGNMENT == 0
            assert block.size % ALIGNMENT == 0
            assert block.offset >= 0
            assert block.offset + block.size <= block.home.segment.size
            taken.setdefault(id(block.home), []).append((block.offset, block.offset + block.size))
        for spans in taken.values():
            spans.sort()
            assert all(end <= start for (_, end), (start, _) in pairwise(spans))

    @invariant()
    def the_books_are_right(self) -> None:
        assert self.arena.used == sum(block.size for block in self.live)
        assert self.arena.used <= self.arena.reserved <= self.arena.limit

    def teardown(self) -> None:
        for block in self.live:
            self.arena.free(block)
        assert self.arena.used == 0
        # Nothing was lost between the blocks: each whole segment can be had again at once.
        for home in [*self.arena.segments, *self.arena._retired]:
            self.arena._melt()
            assert home.extents == [(0, home.segment.size)]
        for _ in range(3):
            self.arena.trim()
        assert self.arena.reserved <= 2 * MIB
        assert all(home.segment.size <= MIB for home in self.arena.segments)
        self.segments.close()


TestArenaMachine = ArenaMachine.TestCase
TestArenaMachine.settings = settings(max_examples=40, stateful_step_count=60, deadline=None)


def test_the_block_that_was_freed_last_is_used_first(arena: Arena) -> None:
    first, second = arena.allocate(10_000, "a"), arena.allocate(10_000, "b")
    arena.free(first)
    arena.free(second)
    assert arena.allocate(10_000, "c") is second
    assert arena.allocate(10_000, "d") is first


def test_nearly_equal_sizes_share_warm_blocks_and_little_is_wasted(arena: Arena) -> None:
    for nbytes in (0, 1, 64, 65, 255, 256, 257, 1000, 4097, 100_000, MIB):
        block = arena.allocate(nbytes, "x")
        assert max(nbytes, 1) <= block.size <= max(ALIGNMENT, nbytes * 5 // 4 + ALIGNMENT)
        arena.free(block)
        assert arena.allocate(nbytes, "x") is block
        arena.free(block)


def test_many_small_freed_blocks_melt_into_a_big_one(arena: Arena) -> None:
    blocks = []
    while True:
        try:
            blocks.append(arena.allocate(32 * 1024, "small"))
        except ArenaFull:
            break
    assert arena.reserved == arena.limit
    for block in blocks:
        arena.free(block)
    largest = max(home.segment.size for home in arena.segments)
    assert arena.allocate(largest, "big").size == largest


def test_a_full_arena_says_who_holds_it(arena: Arena) -> None:
    held = [arena.allocate(MIB, "image"), arena.allocate(MIB, "image"), arena.allocate(MIB, "mask")]
    with pytest.raises(ArenaFull) as caught:
        arena.allocate(2 * MIB, "depth")
    message = str(caught.value)
    assert "model 'm': no room for 2.0 MiB of depth in shared memory (limit 4.0 MiB)" in message
    assert "held by image (2 arrays, 2.0 MiB), mask (1 arrays, 1.0 MiB)" in message
    assert "memory_limit" in message
    assert isinstance(caught.value, MemoryError)
    for block in held:
        arena.free(block)
    arena.allocate(MIB, "depth")


def test_more_than_the_limit_is_refused_at_once(arena: Arena) -> None:
    with pytest.raises(ArenaFull, match="held by nobody"):
        arena.allocate(5 * MIB, "huge", time.monotonic_ns() + 10**12)
    arena.allocate(4 * MIB, "all of it")


def test_a_full_arena_waits_until_something_is_let_go(arena: Arena) -> None:
    block = arena.allocate(4 * MIB, "first")
    waiting = threading.Event()

    def reclaim() -> None:
        waiting.set()

    arena._reclaim = reclaim
    found: list[Block] = []
    waiter = threading.Thread(
        target=lambda: found.append(arena.allocate(4 * MIB, "second", time.monotonic_ns() + 60 * 10**9))
    )
    waiter.start()
    waiting.wait()
    assert not found
    arena.free(block)
    waiter.join()
    assert found == [block]


def test_race_stolen_block(arena: Arena) -> None:
    """Another thread takes the freed block back just as the waiting one's time is over: that one goes on waiting."""
    interval = sys.getswitchinterval()
    blocks = [arena.allocate(4 * MIB, "x")]

    def wait() -> None:
        blocks.append(arena.allocate(4 * MIB, "y", time.monotonic_ns() + int(GUARD * 1e9)))

    sys.setswitchinterval(GUARD)
    try:
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.01)  # it has begun to wait, or will: in either case the block is gone before it looks again
        arena.free(blocks.pop())
        assert arena.used == 0  # which takes in what was freed
        end = time.monotonic() + 0.005
        while time.monotonic() < end:
            pass
    finally:
        sys.setswitchinterval(interval)
    waiting.join(GUARD)
    assert not waiting.is_alive()
    arena.free(blocks.pop())


def test_what_the_other_side_returned_is_looked_for_before_growing(segments: Segments) -> None:
    returned: list[Callable[[], None]] = []

    def reclaim() -> None:
        while returned:
            returned.pop()()

    arena = Arena(segments.grow, 4 * MIB, "m", reclaim)
    block = arena.allocate(MIB, "x")
    returned.append(lambda: arena.free(block))
    assert arena.allocate(MIB, "y") is block
    assert len(segments.made) == 1


def test_what_was_grown_goes_when_it_was_not_needed_for_a_while(segments: Segments) -> None:
    arena = Arena(segments.grow, 64 * MIB, "m")
    small = arena.allocate(1000, "small")
    large = [arena.allocate(8 * MIB, "large") for _ in range(3)]
    for block in large:
        arena.free(block)
    assert arena.trim() == []  # it was needed just now
    assert arena.trim() == []  # and in the turn before this one
    gone = arena.trim()
    assert sum(segment.size for segment in gone) == arena_total(segments) - MIB
    assert arena.reserved == MIB
    assert small.home.segment.fileno() >= 0
    assert all(segment.fileno() < 0 for segment in gone)
    assert arena.allocate(8 * MIB, "large").home.segment not in gone
    assert arena.trim() == []


def arena_total(segments: Segments) -> int:
    return sum(segment.size for segment in segments.made)


def test_a_small_block_does_not_pin_what_a_burst_has_left(segments: Segments) -> None:
    arena = Arena(segments.grow, 64 * MIB, "m")
    large = arena.allocate(32 * MIB, "large")
    arena.free(large)
    small = arena.allocate(1000, "small")  # carved out of it: there is nothing else
    assert small.home is large.home
    for _ in range(3):
        assert arena.trim() == []  # it is in use
    assert arena.reserved == 32 * MIB
    other = arena.allocate(1000, "small")  # but nothing more is given out of it
    assert other.home is not large.home
    assert arena.reserved == 33 * MIB
    arena.free(small)
    assert sum(segment.size for segment in arena.trim()) == 32 * MIB
    assert arena.reserved == MIB
    arena.free(other)


def test_what_is_about_to_go_is_used_before_more_is_taken(segments: Segments) -> None:
    arena = Arena(segments.grow, 16 * MIB, "m")
    blocks = [arena.allocate(size * MIB, "x") for size in (1, 14)]
    arena.free(blocks[1])
    pin = arena.allocate(13 * MIB, "pin")
    arena.free(blocks[0])
    arena.free(pin)
    pin = arena.allocate(1000, "pin")
    del blocks
    for _ in range(3):
        arena.trim()
    assert len(segments.made) == 2
    assert arena.allocate(12 * MIB, "y").size == 12 * MIB
    assert arena.reserved <= arena.limit


def test_nothing_is_trimmed_while_somebody_grows(segments: Segments) -> None:
    """Nor does whoever asks for it wait: in a worker, that is the thread which the one that grows is waiting for."""
    asked: list[list[Segment]] = []

    def grow(size: int) -> Segment:
        asker = threading.Thread(target=lambda: asked.append(growing.trim()))
        asker.start()
        asker.join(GUARD)
        return segments.grow(size)

    growing = Arena(grow, 4 * MIB, "m")
    growing.allocate(MIB, "x")
    assert asked == [[]]


def test_growing_may_be_refused_and_tried_again() -> None:
    refusals = [True]
    segments = Segments()

    def grow(size: int) -> Segment:
        if refusals.pop():
            raise ArenaFull("the machine has no more")
        return segments.grow(size)

    arena = Arena(grow, 4 * MIB, "m")
    with pytest.raises(ArenaFull, match="no room for 1 KiB of x"):
        arena.allocate(1024, "x")
    refusals.append(False)
    assert arena.allocate(1024, "x").size == 1024
    segments.close()


def test_freeing_in_the_middle_of_allocating_is_allowed(arena: Arena) -> None:
    """As the garbage collector does: in the same thread, with the arena's lock held."""
    block = arena.allocate(1000, "x")
    with arena._lock:
        arena.free(block)
    assert arena.used == 0


def test_threads_share_an_arena(arena: Arena) -> None:
    faults: list[str] = []

    def work(mark: int) -> None:
        for step in range(300):
            block = arena.allocate(100 + step * 7 % 5000, "x")
            block.home.segment.map[block.offset] = mark
            block.home.segment.map[block.offset + block.size - 1] = mark
            if block.home.segment.map[block.offset] != mark:
                faults.append(f"{mark} lost its block")
            arena.free(block)

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert arena.used == 0


def test_extents_join_with_both_neighbours(segments: Segments) -> None:
    home = ArenaSegment(segments.grow(4096))
    offsets = [home.carve(1024) for _ in range(4)]
    assert offsets == [0, 1024, 2048, 3072]
    assert home.carve(64) == -1
    home.melt(0, 1024)
    home.melt(2048, 1024)
    assert home.extents == [(0, 1024), (2048, 1024)]
    home.melt(1024, 1024)
    assert home.extents == [(0, 3072)]
    home.melt(3072, 1024)
    assert home.extents == [(0, 4096)]


def test_sizes_read_as_people_say_them() -> None:
    assert [mib(0), mib(2048), mib(MIB), mib(5 * MIB // 2)] == ["0 KiB", "2 KiB", "1.0 MiB", "2.5 MiB"]
