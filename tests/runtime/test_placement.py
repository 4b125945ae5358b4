"""``load(placement=)``: which processors workers get, and that nobody else's are touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import isopod
from isopod import SpecError
from isopod.runtime import placement

FLEETS = Path(__file__).resolve().parent.parent / "models" / "fleets.py"


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight logical processors, two to a core; the caller runs on number 5."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(placement, "core_of", lambda cpu: frozenset([cpu // 2 * 2, cpu // 2 * 2 + 1]))
    monkeypatch.setattr(placement, "_current", lambda: 5)


@pytest.mark.parametrize(
    ("wanted", "workers", "sets"),
    [
        ("auto", 2, []),
        ("latency", 1, [{4, 5}]),
        ("latency", 3, [{4, 5}] * 3),
        ("throughput", 1, [{0, 1}]),
        ("throughput", 3, [{0, 1}, {2, 3}, {6, 7}]),
        ("throughput", 4, [{0, 1, 2, 3, 6, 7}] * 4),
    ],
)
def test_which_processors(four_cores: None, wanted: str, workers: int, sets: list[set[int]]) -> None:
    assert [set(one) for one in placement.placed(wanted, workers)] == sets


@pytest.mark.parametrize(("wanted", "sets"), [("latency", [{3}]), ("throughput", [])])
def test_where_there_is_one_processor(monkeypatch: pytest.MonkeyPatch, wanted: str, sets: list[set[int]]) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    monkeypatch.setattr(placement, "_current", lambda: 3)
    assert [set(one) for one in placement.placed(wanted, 1)] == sets


def test_what_is_no_placement() -> None:
    with pytest.raises(SpecError, match="placement cannot be 'fast'; it is one of auto, latency, throughput"):
        isopod.load(f"{FLEETS}:placed", placement="fast")  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="cpus or placement, not both"):
        isopod.load(f"{FLEETS}:placed", placement="latency", cpus="0")


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor")
def test_workers_are_pinned_and_the_application_is_not() -> None:
    mine = os.sched_getaffinity(0)
    seen: dict[str, set[int]] = {}
    for wanted in ("latency", "throughput", "auto"):
        with isopod.load(f"{FLEETS}:placed", placement=wanted) as model:
            seen[wanted] = set(model()["cpus"])
        assert os.sched_getaffinity(0) == mine
    assert seen["auto"] == mine
    assert seen["latency"] < mine
    assert seen["throughput"] < mine
