"""What a worker's death gives back, it gives back at once: nothing of ours waits for the garbage collector.

A model server that has switched the collector off, as some do for their tail latency, must not run out of descriptors.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import census
import numpy as np
import pytest
from waits import until

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


def retried(model: isopod.Model, seen: str) -> None:
    """A fleet's calls, which each kill two workers first, in every way of calling; and a new version."""
    callers: tuple[Callable[..., Any], ...] = (
        model,
        lambda **inputs: model.submit(**inputs).result(),
        lambda **inputs: asyncio.run(model.acall(**inputs)),
        lambda **inputs: sorted(model.map([inputs, {"x": 2}]), key=lambda out: -np.size(out["x"]))[0],
    )
    for number, caller in enumerate(callers):
        assert caller(x=np.ones(1000), seen=f"{seen}-{number}", deadly=2)["x"].sum() == 1000
    with contextlib.suppress(IsopodError):
        model(seen=f"{seen}-last", deadly=99)
    model.reload(args={"version": 2})
    assert model(x=1)["version"] == 2


@pytest.mark.parametrize("standby", [0, 1])
@pytest.mark.parametrize("closed", [True, False], ids=["closed", "dropped"])
def test_a_fleet_is_gone_by_reference_counts_alone(
    no_collector: None, models: Path, tmp_path: Path, standby: int, closed: bool
) -> None:
    before = census.take()
    with census.supervisor_at_rest():
        restart = isopod.Restart(max_restarts=None)
        model = isopod.load(models / "fleets.py:Member", workers=2, standby=standby, retries=2, restart=restart)
        retried(model, str(tmp_path / "seen"))
        behind = weakref.ref(model._deployment)
        if closed:
            model.close()
        del model
        until(lambda: behind() is None)
    assert census.left_over(before, collect=False) == []


def batched(model: isopod.Model) -> None:
    """Calls that are run together, of which one kills; in every way of calling, and with a deadline that is far off."""
    model.map([{"x": np.ones((1, 2))}] * 3, ahead=3, timeout=100.0)
    for x, deadly in ((1, 0), (-1, 1)):
        rows = np.full((1, 2), x, np.float64)
        assert [out["y"][0, 0] for out in model.map([{"x": rows, "deadly": deadly}] * 4, ahead=4)] == [2 * x] * 4
        futures = [model.submit(x=rows, timeout=100.0) for _ in range(4)] if x > 0 else []
        assert [future.result()["y"][0, 0] for future in futures] == [2 * x] * len(futures)
    assert asyncio.run(model.acall(x=np.ones((1, 2)), timeout=100.0))["y"][0, 0] == 2
    with contextlib.suppress(IsopodError):
        model(x=np.full((1, 2), -2.0), timeout=100.0)
    with contextlib.suppress(IsopodError):
        model.submit(x=np.full((1, 2), -2.0), timeout=100.0).result()


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "dropped"])
def test_a_model_that_batches_is_gone_by_reference_counts_alone(
    no_collector: None, models: Path, tmp_path: Path, closed: bool
) -> None:
    before = census.take()
    with census.supervisor_at_rest():
        batch, restart = isopod.Batch(isolate_errors=True), isopod.Restart(max_restarts=None)
        args = {"seen": str(tmp_path)}
        model = isopod.load(models / "batches.py:Rows", batch=batch, restart=restart, retries=2, args=args)
        batched(model)
        behind = weakref.ref(model._deployment)
        if closed:
            model.close()
        del model
        until(lambda: behind() is None)
    assert census.left_over(before, collect=False) == []


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
