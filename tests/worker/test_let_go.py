"""What a worker's death gives back, it gives back at once: nothing of ours waits for the garbage collector.

A model server that has switched the collector off, as some do for their tail latency, must not run out of descriptors.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import census
import pytest

import isopod
from isopod import IsopodError


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def answered(model: isopod.Model) -> None:
    assert model(x=1)["y"] == 2
    assert model.submit(x=1).result()["y"] == 2
    assert asyncio.run(model.acall(x=1))["y"] == 2
    assert [answer["y"] for answer in model.map([{"x": 1}, {"x": 2}])] == [2, 4]


def crashed(model: isopod.Model) -> None:
    with contextlib.suppress(IsopodError):
        model(way="sigkill")
    with contextlib.suppress(IsopodError):
        model.submit(way="sigkill").result()
    with contextlib.suppress(IsopodError):
        asyncio.run(model.acall(way="sigkill"))
    with contextlib.suppress(IsopodError):
        list(model.map([{"x": 1}, {"way": "sigkill"}]))
    assert model(x=1)["y"] == 2


def overdue(model: isopod.Model) -> None:
    for call in (model, lambda **inputs: model.submit(**inputs).result()):
        with contextlib.suppress(IsopodError):
            call(way="endless", timeout=0.2)


def raised(model: isopod.Model) -> None:
    with contextlib.suppress(IsopodError):
        model(way="sys_exit")


def forgotten(model: isopod.Model) -> None:
    with contextlib.suppress(IsopodError):
        next(model.map([{"way": "sigkill"}, {"x": 1}]))


@pytest.mark.parametrize("use", [answered, crashed, overdue, raised, forgotten])
@pytest.mark.parametrize("closed", [True, False], ids=["closed", "dropped"])
def test_a_worker_is_gone_by_reference_counts_alone(
    no_collector: None, models: Path, use: Callable[[isopod.Model], None], closed: bool
) -> None:
    before = census.take()
    with census.supervisor_at_rest():
        model = isopod.load(models / "deaths.py:Dying")
        use(model)
        if closed:
            model.close()
        del model
    assert census.left_over(before, collect=False) == []


def test_a_load_that_failed_is_gone_by_reference_counts_alone(no_collector: None, models: Path) -> None:
    before = census.take()
    with census.supervisor_at_rest():
        for _ in range(3):
            with contextlib.suppress(IsopodError):
                isopod.load(models / "basic.py:Nothing")
    assert census.left_over(before, collect=False) == []
