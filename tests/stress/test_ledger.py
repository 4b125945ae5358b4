"""The ledger catches what the soak is run for: a call that is lost, one that ends twice, and a wrong answer."""

from __future__ import annotations

import numpy as np
import pytest

import isopod
from stress.content import Maker
from stress.ledger import Ledger


def test_all_is_well_where_each_call_ends_once() -> None:
    ledger = Ledger(3)
    first, second, third = (ledger.open("call", "m") for _ in range(3))
    assert ledger.open("call", "m") == 0
    ledger.answered(second)
    ledger.failed(first, isopod.WorkerCrashed("killed"), (isopod.WorkerCrashed,))
    ledger.dropped(third, "cancelled")
    ledger.settle()
    assert ledger.violations == []
    assert dict(ledger.outcomes) == {("call", "answered"): 1, ("call", "WorkerCrashed"): 1, ("call", "cancelled"): 1}


def test_a_lost_call() -> None:
    ledger = Ledger(2)
    ledger.answered(ledger.open("call", "m"))
    lost = ledger.open("future", "m")
    ledger.settle()
    assert ledger.violations == [f"call {lost} was lost (future of m)"]


def test_a_call_that_ends_twice() -> None:
    ledger = Ledger(1)
    number = ledger.open("call", "m")
    ledger.answered(number)
    ledger.failed(number, isopod.WorkerCrashed("too late"), (isopod.WorkerCrashed,))
    assert ledger.violations == [f"call {number} ended twice, the second time: WorkerCrashed"]


def test_an_answer_to_nobody() -> None:
    ledger = Ledger(5)
    ledger.answered(3)
    assert ledger.violations == ["call 3 was never begun, and ended: answered"]


def test_an_error_that_nobody_asked_for() -> None:
    ledger = Ledger(1)
    number = ledger.open("call", "m")
    ledger.failed(number, isopod.InternalError("oops"), (isopod.WorkerCrashed,))
    assert ledger.violations == [f"call {number} ended with InternalError: oops (call of m)"]


@pytest.mark.parametrize("nbytes", [16, 100, 1000, 1 << 20])
def test_a_wrong_answer(nbytes: int) -> None:
    request = Maker(1 << 20, seed=1).tensor(7, nbytes, "plain")
    right = ~np.frombuffer(request.flat.tobytes(), np.uint8)

    def answer(data: np.ndarray, **more: object) -> dict[str, object]:
        return {"number": 7, "pid": 1, "y": data.view(request.dtype).reshape(request.shape), **more}

    if request.dtype.kind == "b":
        right = request.flat ^ 1
    assert request.problem(answer(right)) == ""
    assert "another call" in request.problem(answer(right, number=8))
    for place in {0, nbytes // 2, right.size - 1}:
        wrong = right.copy()
        wrong[place] ^= 1
        assert "bytes" in request.problem(answer(wrong))
    assert "shape" in request.problem({"number": 7, "pid": 1, "y": np.zeros(3)})
    assert "no y" in request.problem({"number": 7, "pid": 1})


def test_nothing_is_begun_while_it_rests() -> None:
    ledger = Ledger(2)
    number = ledger.open("call", "m")
    assert not ledger.pause(0.0)
    assert ledger.open("call", "m") == 0
    ledger.answered(number)
    assert ledger.pause(0.0)
    ledger.resume()
    assert ledger.open("call", "m") == 2
    ledger.end()
    assert not ledger.wait()
