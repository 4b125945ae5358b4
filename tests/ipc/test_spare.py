"""Copies that are spare: used again as they stand, unless somebody else has seen them, and given up to make room."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from wire import OUTBOX, Wire

from isopod.ipc import transfer
from isopod.ipc.errors import ArenaFull
from isopod.ipc.lent import Lent


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.close()


def come_and_go(wire: Wire, array: Any) -> None:
    """Have an array cross and be let go."""
    assert wire.cross(array).tolist() == array.tolist()
    assert wire.used == 0


def test_the_next_array_of_its_kind_lies_where_the_last_one_lay(wire: Wire) -> None:
    first = wire.outbound.place("x", np.full(100, 1.0))[1]
    wire.owner.spent([first])
    assert wire.arena.used == 0
    second = wire.outbound.place("y", np.full(100, 2.0))[1]
    assert second is first
    assert second.tolist() == [2.0] * 100
    assert wire.arena.used == 896
    assert [block.label for block in wire.arena.live.values()] == ["y"]


def test_several_of_one_kind_lie_each_where_it_lay_before_and_are_described_as_they_were(wire: Wire) -> None:
    arrays = [(f"x{number}", np.full(3, float(number))) for number in range(10)]
    before, kept, _ = wire.outbound.place_all(arrays)
    for _ in range(3):
        wire.owner.spent(kept)
        again, kept, _ = wire.outbound.place_all(arrays)
        assert all(one is other for one, other in zip(before, again, strict=True))
        assert [array.tolist() for array in kept] == [array.tolist() for _, array in arrays]


def test_bytes_that_lie_where_text_lay_are_bytes(wire: Wire) -> None:
    """Under the same name, and of just that size: what was said of the block is true of the text alone."""
    for text in (np.array(["isopod", "", "🦐"]), np.array([["a"], ["bc"]], dtype=object)):
        item, root = wire.outbound.place("x", text)
        wire.owner.spent([root])
        (placed,), (again,), _ = wire.outbound.place_all([("x", np.arange(root.nbytes, dtype=np.uint8))])
        assert again is root
        assert placed.dtype != item.dtype
        assert placed.shape == (root.nbytes,)
        wire.owner.spent([again])


@pytest.mark.parametrize(
    "other", [np.ones(100, np.int64), np.ones((10, 10)), np.ones(99)], ids=["dtype", "rank", "size"]
)
def test_one_of_another_kind_does_not(wire: Wire, other: Any) -> None:
    first = wire.outbound.place("x", np.full(100, 1.0))[1]
    wire.owner.spent([first])
    assert wire.outbound.place("x", other)[1] is not first
    assert wire.cross(other).tolist() == other.tolist()


def test_what_a_user_holds_is_never_spare(wire: Wire) -> None:
    mine = wire.owner.empty(100, np.float64, "mine")
    wire.owner.spent([mine, mine[3:], np.ones(100)])
    mine[:] = 7
    assert wire.outbound.place("x", np.ones(100))[1] is not mine
    assert mine.tolist() == [7.0] * 100


def test_what_came_back_as_a_view_is_not_spare(wire: Wire) -> None:
    """The other side sent a part of it back, which somebody here may look at for as long as he likes."""
    lent = Lent(spent=wire.owner.spent)
    item, copy = wire.outbound.place("x", np.arange(100.0))
    key = (item.segment + OUTBOX, item.block)
    lent.add(item._replace(segment=key[0]), copy)
    seen = wire.receive(item._replace(segment=key[0]), lent)
    del copy
    lent.release(key)
    for _ in range(3):
        wire.cross(np.zeros(100))
    assert seen.tolist() == list(range(100))


def test_what_is_spare_makes_room_for_others(wire: Wire) -> None:
    for size in range(1, 6):
        come_and_go(wire, np.ones(size << 16))
    held = wire.owner.empty(5 << 19, np.uint8, "half of it")
    assert wire.arena.used >= held.nbytes
    with pytest.raises(ArenaFull, match="held by half of it"):
        wire.owner.empty(wire.arena.limit - held.nbytes + 1, np.uint8, "too much")


def test_many_kinds_do_not_pile_up(wire: Wire) -> None:
    for size in range(1, 200):
        come_and_go(wire, np.ones(size))
    assert len(wire.owner._spare) <= 32


def test_nothing_is_spare_once_the_arena_is_closed(wire: Wire) -> None:
    come_and_go(wire, np.ones(50))
    copy = wire.outbound.place("x", np.ones(100))[1]
    wire.arena.close()
    wire.owner.spent([copy])
    assert not any(wire.owner._spare.values())


def test_kinds_that_are_given_up_in_the_middle_of_a_copy_lose_no_block(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RACE given up: by another thread, which makes copies of many other kinds meanwhile."""

    def many() -> None:
        for size in range(1, 100):
            wire.owner.spent([wire.outbound.place("x", np.ones(size))[1]])

    class Late(transfer._Alike):
        def __init__(self) -> None:
            super().__init__()
            monkeypatch.undo()
            in_another_thread(many)

    def in_another_thread(work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    monkeypatch.setattr(transfer, "_Alike", Late)
    copy = wire.outbound.place("x", np.ones(1000))[1]
    wire.owner.spent([copy])
    assert wire.outbound.place("x", np.ones(1000))[1] is copy  # it is found again
    wire.owner.spent([copy])
    in_another_thread(many)
    del copy
    wire.owner._drop_spares()
    assert wire.arena.used == 0
    assert not wire.arena.live
