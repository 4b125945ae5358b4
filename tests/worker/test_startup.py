"""Where the time of a worker's start goes: every part is there, and together they are the whole."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

import isopod
from isopod.runtime.startup import PARTS, THEIRS, parts

SLOW = """\
import time
until = time.monotonic() + 0.05
while time.monotonic() < until:
    pass

class Slow:
    def __init__(self):
        until = time.monotonic() + 0.1
        while time.monotonic() < until:
            pass

    def __call__(self):
        return 1
"""


def test_the_parts_of_a_start_are_the_whole(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    with isopod.load(f"{tmp_path / 'slow.py'}:Slow", workers=2) as model:
        stats = model.stats()
    assert list(stats.start) == [*PARTS, "total"]
    assert all(stats.start[name] > 0 for name in PARTS)
    assert math.isclose(sum(stats.start[name] for name in PARTS), stats.start["total"])
    assert stats.start["total"] == stats.start_seconds
    assert stats.start["module"] >= 0.05
    assert stats.start["construct"] >= 0.1
    assert stats.start["module"] + stats.start["construct"] < stats.start_seconds
    line = str(stats).splitlines()[-1]
    assert line.startswith(f"start    {stats.start_seconds * 1e3:.0f} ms: queue ")
    assert [item.split()[0] for item in line.partition(": ")[2].split(", ")] == list(PARTS)


def test_a_replacement_tells_of_its_own_start(models: Path) -> None:
    with isopod.load(models / "basic.py:Swiss") as model:
        first = model.stats().start
        model.reload()
        second = model.stats().start
        assert first != second
        assert math.isclose(sum(second[name] for name in PARTS), second["total"])


GOOD = {"began": 102.0, **dict.fromkeys(THEIRS, 0.5)}


def test_parts_are_told_apart() -> None:
    assert parts(GOOD, ordered=100.0, spawned=101.0, total=10.0) == {
        "queue": 1.0,
        "exec": 1.0,
        **dict.fromkeys(THEIRS, 0.5),
        "other": 4.0,
        "total": 10.0,
    }


@pytest.mark.parametrize(
    "change",
    [{"began": 100.9}, {"began": 1e9}, {"numpy": -0.1}, {"module": 9.0}, {"hello": math.nan}, {"attach": math.inf}],
    ids=repr,
)
def test_times_that_cannot_be_are_not_told(change: dict[str, float]) -> None:
    found = parts({**GOOD, **change}, ordered=100.0, spawned=101.0, total=10.0)
    assert (found["other"], found["total"]) == (10.0, 10.0)
    assert sum(found[name] for name in PARTS) == 10.0


def test_what_a_worker_does_not_say_is_other() -> None:
    found = parts({}, ordered=100.0, spawned=101.0, total=10.0)
    assert (found["queue"], found["exec"], found["other"]) == (1.0, 0.0, 9.0)
