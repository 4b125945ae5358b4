"""Inputs that a model keeps beyond their call, in whichever way: they are seen, and never written over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from prefixes import prefix_with

import isopod

KEPT = ["attribute", "view", "memoryview", "ctypes", "stride_tricks", "generator", "thread", "traceback"]


@pytest.fixture(scope="module")
def keeper(_supervisor_at_rest: None, models: Path) -> Iterator[isopod.Model]:
    with isopod.load(models / "keepers.py:Keeper", timeout=60) as model:
        model(x=model.empty("x", 1 << 20, "uint8"))  # its memory is there before the first census
        model(do="keep", way="attribute", x=np.ones(1000))
        assert model()["there"]
        model(do="let_go")
        yield model


@pytest.fixture
def model(keeper: isopod.Model) -> Iterator[isopod.Model]:
    yield keeper
    for _ in range(2):  # what the first one lets go, the second one brings back
        keeper(do="let_go")
    assert keeper.stats().shared_bytes_used == 0


def others(model: isopod.Model) -> None:
    """Calls whose inputs would lie where a kept one lay, if that was thought to be free."""
    for number in range(20):
        model(x=np.full(1000, float(number)))


@pytest.mark.parametrize("way", KEPT)
def test_what_is_kept_stays_as_it_was(model: isopod.Model, way: str) -> None:
    for value in (5.0, 6.0):
        model(do="keep", way=way, x=np.full(1000, value))
        others(model)
        assert model()["values"].tolist() == [value] * 1000
    assert model.stats().shared_bytes_used > 0


def test_what_only_a_cycle_keeps_stays_until_the_collector_comes(model: isopod.Model) -> None:
    model(do="keep", way="cycle", x=np.full(1000, 5.0))
    others(model)
    told = model()
    assert told["values"].tolist() == [5.0] * 1000 * int(told["there"])


def test_a_weak_reference_keeps_nothing(model: isopod.Model) -> None:
    model(do="keep", way="weak_reference", x=np.full(1000, 5.0))
    assert not model()["there"]
    assert model.stats().shared_bytes_used == 0


def test_who_looks_while_the_call_ends_finds_nothing_or_keeps_what_he_finds(model: isopod.Model) -> None:
    """RACE late look: a thread of the model has a weak reference, and asks it at any moment."""
    number, found = 0, 0
    while True:
        number += 1
        model(do="look_late", way=str(number), x=np.full(1000, 5.0))
        looked = model(do="looked")["looked"]
        others(model)
        told = model()
        assert told["values"].tolist() == [5.0] * 1000 * int(told["there"]), f"at opcode {number}"
        found += told["there"]
        model(do="let_go")
        if not looked:
            assert 0 < found < number - 1
            return


def test_inputs_are_kept_where_the_environment_starts_a_tracer(models: Path, tmp_path: Path) -> None:
    """It sees our own frames too while the worker starts, and holds what it sees: we must not learn from that."""
    tracer = """
import sys
def trace(frame, event, argument):
    if frame.f_code.co_name != "<module>":  # Python 3.12 would lose what its comprehensions hold
        frame.f_locals
    return trace
sys.settrace(trace)
"""
    env = prefix_with({"tracer": tracer}, tmp_path / "env")
    (site,) = env.glob("lib/*/site-packages")
    (site / "tracer.pth").write_text("import tracer")
    with isopod.load(models / "keepers.py:Keeper", env=env, timeout=60) as model:
        model(do="looked")  # that is the end of it
        model(do="keep", way="attribute", x=np.full(1000, 5.0))
        others(model)
        assert model()["values"].tolist() == [5.0] * 1000


def test_inputs_have_leases_only_where_somebody_asks(model: isopod.Model) -> None:
    told = model(do="leases", x=np.full(1000, 1.0), y=np.ones(3), z=np.ones(3))
    assert told["after"] - told["before"] == 3
    assert model.stats().shared_bytes_used == 0


def test_what_nobody_keeps_goes_back_with_the_answer(model: isopod.Model) -> None:
    model(do="keep", way="attribute", x=np.full(1000, 5.0))
    model(do="let_go")
    before = model(do="returned")["returned"]
    others(model)
    assert before > 0
    assert model(do="returned")["returned"] == before


@pytest.mark.parametrize("do", ["keep", "ask_and_keep"])
def test_one_that_is_kept_among_others_is_all_that_is_kept(model: isopod.Model, do: str) -> None:
    more = {f"more{number}": np.full(1000, float(number)) for number in range(5)}
    model({"do": do, "way": "attribute", "x": np.full(1000, 7.0), **more})
    assert 8000 <= model.stats().shared_bytes_used < 2 * 8000
    others(model)
    assert model()["values"].tolist() == [7.0] * 1000
