"""Which processors and how many threads: what may be asked for, and what is made of it."""

from __future__ import annotations

import os
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies

from isopod import SpecError, Threads
from isopod.runtime.environment import thread_counts, with_threads
from isopod.runtime.resources import affinity, listed, parsed


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


@pytest.mark.parametrize(
    ("given", "workers", "sets"),
    [
        (None, 3, []),
        ("0-3", 1, [{0, 1, 2, 3}]),
        ("0-1,5", 2, [{0, 1, 5}] * 2),
        ([0, 2], 2, [{0, 2}] * 2),
        ((7,), 1, [{7}]),
        (["0-3", "4-7"], 2, [{0, 1, 2, 3}, {4, 5, 6, 7}]),
        ([[0], [1], "2,3"], 3, [{0}, {1}, {2, 3}]),
        ([[0, 1]], 2, [{0, 1}] * 2),
    ],
    ids=repr,
)
def test_processors(eight: None, given: Any, workers: int, sets: list[set[int]]) -> None:
    assert [set(one) for one in affinity(given, workers)] == sets


@pytest.mark.parametrize(
    ("given", "fact"),
    [
        ("8", "this process may use"),
        ("", "cannot be ''"),
        ("3-1", "cannot be '3-1'"),
        ("a", "write '0-3,8'"),
        ([], "gives 0 sets of processors to 2 workers"),
        (["0", "1", "2"], "gives 3 sets of processors to 2 workers"),
        ([[0], [None]], "write '0-3,8'"),
    ],
    ids=repr,
)
def test_processors_that_cannot_be_had(eight: None, given: Any, fact: str) -> None:
    with pytest.raises(SpecError, match=fact):
        affinity(given, 2)


@hypothesis.given(strategies.sets(strategies.integers(0, 300), min_size=1))
def test_what_is_listed_is_what_is_read(cpus: set[int]) -> None:
    assert parsed(listed(cpus)) == cpus


def test_what_is_listed_is_short() -> None:
    assert listed([8, 0, 3, 1, 2, 10, 9]) == "0-3,8-10"
    assert listed([5]) == "5"


def test_thread_counts_are_variables_that_an_environments_own_override() -> None:
    threads = thread_counts(3)
    assert threads == Threads(within=3, between=1)
    variables = with_threads({"OMP_NUM_THREADS": "7", "MINE": "x"}, threads)
    assert variables["OMP_NUM_THREADS"] == "7"
    assert variables["MINE"] == "x"
    assert variables["OPENBLAS_NUM_THREADS"] == variables["TF_NUM_INTRAOP_THREADS"] == "3"
    assert variables["TF_NUM_INTEROP_THREADS"] == "1"
    assert with_threads({"MINE": "x"}, None) == {"MINE": "x"}
    assert thread_counts(None) is None
    for wrong in ((0, 1), (1, 0)):
        with pytest.raises(SpecError, match="at least one thread"):
            Threads(*wrong)
