"""Leases: a block goes back when the last view of it dies, however it was made, and never before."""

from __future__ import annotations

import contextlib
import copy
import gc
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import pytest
import strategies  # noqa: F401  (the profile)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from interrupts import Interrupt
from wire import Wire

from isopod.ipc import lease
from isopod.ipc.lease import lease_of, locate

# Ways to look at an array's memory. Each keeps it alive.
VIEWS: dict[str, Callable[[Any], Any]] = {
    "slice": lambda array: array[1:],
    "strided": lambda array: array[::2],
    "reshape": lambda array: array.reshape(-1),
    "transpose": lambda array: array.T,
    "bytes": lambda array: array.view(np.uint8) if array.flags.c_contiguous else array[:1],
    "asarray": lambda array: np.asarray(memoryview(cast("Any", array))),
    "memoryview": lambda array: np.frombuffer(memoryview(cast("Any", np.ascontiguousarray(array))), array.dtype),
    "dlpack": np.from_dlpack,
    "as strided": lambda array: np.lib.stride_tricks.as_strided(array, array.shape, array.strides),
    "subclass": lambda array: array.view(np.ma.MaskedArray),
    "broadcast": lambda array: np.broadcast_to(array, (2, *array.shape)),
    "iterator": lambda array: next(iter(array.reshape(1, -1))),
}
COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": lambda array: array.copy(),
    "pickle": lambda array: pickle.loads(pickle.dumps(array)),
    "deepcopy": copy.deepcopy,
    "sum": lambda array: array + 0,
}


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.close()


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_keeps_the_block_and_its_end_returns_it(wire: Wire, view: str) -> None:
    root = wire.cross(np.arange(64.0).reshape(8, 8))
    seen = VIEWS[view](root)
    values = seen.tolist()
    del root
    gc.collect()
    assert wire.used > 0
    for _ in range(20):
        wire.cross(np.full((8, 8), -1.0))
    assert seen.tolist() == values
    del seen
    gc.collect()
    assert wire.used == 0


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_keeps_nothing(wire: Wire, way: str) -> None:
    root = wire.cross(np.arange(64.0))
    copied = COPIES[way](root)
    del root
    assert wire.used == 0
    wire.cross(np.full(64, -1.0))
    assert copied.tolist() == list(range(64))


class LeaseMachine(RuleBasedStateMachine):
    """Arrays come in, are viewed in every way, and are dropped in any order; the arena's books follow exactly."""

    arrays: Bundle[int] = Bundle("arrays")

    def __init__(self) -> None:
        super().__init__()
        self.wire = Wire()
        self.held: dict[int, tuple[Any, list[Any], int]] = {}  # an array, what it must show, and its root's number
        self.roots: dict[int, int] = {}  # bytes of the block by root
        self.count = 0

    def keep(self, array: Any, root: int) -> int:
        self.count += 1
        self.held[self.count] = (array, array.tolist(), root)
        return self.count

    @rule(target=arrays, rows=st.integers(1, 9), columns=st.integers(1, 300))
    def arrive(self, rows: int, columns: int) -> int:
        before = self.wire.used
        array = self.wire.cross(np.full((rows, columns), self.count, np.float32))
        self.roots[self.count + 1] = self.wire.used - before
        return self.keep(array, self.count + 1)

    @rule(target=arrays, source=arrays, way=st.sampled_from(sorted(set(VIEWS) - {"memoryview"})))
    def view(self, source: int, way: str) -> int:
        if source not in self.held:
            return source
        array, _, root = self.held[source]
        view = VIEWS[way](array) if array.ndim < 4 and array.size > 1 else array[...]
        return self.keep(view, root) if np.shares_memory(view, array) else source  # else it was a copy

    @rule(source=arrays, way=st.sampled_from(sorted(COPIES)))
    def copied(self, source: int, way: str) -> None:
        if source in self.held:
            COPIES[way](self.held[source][0])

    @rule(array=consumes(arrays))
    def drop(self, array: int) -> None:
        self.held.pop(array, None)

    @rule(array=arrays)
    def send_back(self, array: int) -> None:
        """An array that was received is sent on: copied, or found to lie where the other side knows it."""
        if array in self.held:
            assert self.wire.cross(self.held[array][0]).tolist() == self.held[array][1]

    @invariant()
    def values_hold(self) -> None:
        for array, values, _ in self.held.values():
            assert array.tolist() == values

    @invariant()
    def exactly_the_blocks_that_are_seen_are_out(self) -> None:
        alive = {root for _, _, root in self.held.values()}
        assert self.wire.used == sum(self.roots[root] for root in alive)

    def teardown(self) -> None:
        self.held.clear()
        gc.collect()
        assert self.wire.used == 0
        self.wire.close()


TestLeaseMachine = LeaseMachine.TestCase
TestLeaseMachine.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)


def test_where_an_array_lies_is_found_through_any_view(wire: Wire) -> None:
    root = wire.owner.empty((8, 8), np.float64, "x")
    place = locate(root)
    assert place is not None
    segment, start, offset = place
    assert offset == start
    for view, shift in (
        (root[1:], 64),
        (root[2:].reshape(-1)[3:], 152),
        (np.asarray(memoryview(cast("Any", root)))[1:], 64),
    ):
        assert locate(view) == (segment, start, start + shift)
    assert lease_of(np.from_dlpack(root)) is lease_of(root)
    for ordinary in (np.ones(3), np.ones(3)[1:], root.copy(), np.frombuffer(b"12345678")):
        assert locate(ordinary) is None


def test_a_cycle_returns_its_block_when_it_is_collected(wire: Wire) -> None:
    loop: list[Any] = [wire.cross(np.ones(10))]
    loop.append(loop)
    assert wire.used > 0
    del loop
    gc.collect()
    assert wire.used == 0


def test_no_lease_is_forgotten(wire: Wire) -> None:
    before = dict(lease.roots)
    for _ in range(100):
        wire.cross(np.ones(10))
    assert wire.used == 0
    wire.arena.trim()  # copies that are spare
    assert lease.roots == before


def test_a_full_return_ring_delays_and_loses_nothing() -> None:
    wire = Wire(returns=8)
    held = [wire.cross(np.ones(4)) for _ in range(50)]
    held.clear()
    assert wire.lent.nbytes > 0
    while wire.used:
        pass
    assert len(wire.lent) == 0
    wire.close()


def test_threads_drop_arrays_while_others_arrive(wire: Wire) -> None:
    arrays: list[Any] = [wire.cross(np.ones(4)) for _ in range(48)]
    start = threading.Barrier(4)

    def drop() -> None:
        start.wait()
        for _ in range(12):
            arrays.pop()

    threads = [threading.Thread(target=drop) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wire.used == 0
    assert len(wire.lent) == 0


def test_returns_go_on_after_ctrl_c_at_any_line_of_writing_them(wire: Wire) -> None:
    """RACE lost turn: whoever was interrupted does not seem to be at it for ever. One return may be lost with it."""
    number = 0
    while True:
        number += 1
        wire.cross(np.ones(4))
        interrupt = Interrupt(number, only=("flush",))
        with contextlib.suppress(KeyboardInterrupt), interrupt:
            wire.borrowed.flush()
        wire.cross(np.ones(4))
        lost = wire.used
        for _ in range(3):
            wire.cross(np.ones(4))
        assert wire.used == lost, interrupt.hit
        if not interrupt.hit:
            assert number > 10
            return
