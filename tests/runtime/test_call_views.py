"""Outputs that are views of a call's inputs: found by their block, however many inputs there are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from isopod.ipc.record import Tensor
from isopod.runtime.calls import Call


class Counted(list[Tensor]):
    """Tensors that know how often somebody went through them."""

    rounds = 0

    def __iter__(self) -> Iterator[Tensor]:
        self.rounds += 1
        return super().__iter__()


def call_with(*tensors: Tensor) -> Call:
    call = Call(0, None, None, threaded=True)
    call.tensors, call.kept = Counted(tensors), [np.zeros(64, np.uint8) for _ in tensors]
    return call


def tensor(block: int, offset: int, nbytes: int = 64) -> Tensor:
    return Tensor("x", 1, (nbytes,), 0, block, offset, nbytes)


def test_many_views_are_found_by_going_through_the_inputs_once() -> None:
    call = call_with(*(tensor(block, block * 64) for block in range(1000)))
    for block in reversed(range(1000)):
        loan = call.find(tensor(block, block * 64 + 8, 8))
        assert loan is not None
        assert loan.array is call.kept[block]
    assert isinstance(call.tensors, Counted)
    assert call.tensors.rounds == 1


def test_of_several_inputs_in_one_block_it_is_the_one_that_the_view_lies_in() -> None:
    call = call_with(tensor(7, 448, 64), tensor(7, 512, 64), tensor(8, 576, 64))
    loan = call.find(tensor(7, 520, 16))
    assert loan is not None
    assert loan.array is call.kept[1]
    assert call.find(tensor(7, 500, 64)) is None
    assert call.find(tensor(9, 640, 8)) is None


def test_one_that_is_over_lends_nothing_any_more() -> None:
    call = call_with(tensor(1, 64))
    assert call.find(tensor(1, 64)) is not None
    call.release()
    assert call.find(tensor(1, 64)) is None
