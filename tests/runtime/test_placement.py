"""``load(placement=)``: which processors workers get, and that nobody else's are touched."""

from __future__ import annotations

import os
from collections.abc import Iterable
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


@pytest.mark.parametrize(
    ("allowed", "left"),
    [
        (range(8), {0, 1}),
        ([1, 2, 3], {1}),  # of its core, the only one that may be used
        ([6, 4, 7, 5], {4, 5}),
        ([2, 3], {2}),  # one core
        ([7], set()),
    ],
    ids=str,
)
def test_what_is_left_to_others_where_nothing_is_asked(four_cores: None, allowed: list[int], left: set[int]) -> None:
    assert placement.all_but_one_core(frozenset(allowed)) == set(allowed) - left


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


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor")
def test_no_thread_of_the_application_is_moved_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even for a moment: it, and all that it starts, would have no others ever again, should there be more."""
    moved: list[int] = []
    move = os.sched_setaffinity

    def note(pid: int, cpus: Iterable[int]) -> None:
        moved.append(pid)
        move(pid, cpus)

    monkeypatch.setattr(os, "sched_setaffinity", note)
    with isopod.load(f"{FLEETS}:placed", cpus=[min(os.sched_getaffinity(0))]) as model:
        assert moved == [model.health.pid]
