"""Micro-batching: who has no time left, or does not want its answer any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest
from batch_calls import HANGS, LONG, YIELDS, Gate, load, row, runs_in, waiting
from waits import GUARD, until

import isopod
from isopod import Batch, ModelError, WorkerTimeout

# ---------------------------------------------------------------------- time


def test_who_has_no_time_left_leaves_a_batch_that_waits(
    models: Path, gate: Callable[..., Gate], tmp_path: Path
) -> None:
    (seen := tmp_path / "seen").mkdir()
    with load(models, args={"seen": str(seen)}) as model:
        busy = gate(model)
        first, hurried, last = model.submit(x=row(1)), model.submit(x=row(2, 2), timeout=0.05), model.submit(x=row(3))
        with pytest.raises(WorkerTimeout, match=r"waiting in line.*deadline of 0\.05 s.*had not been started"):
            hurried.result(GUARD)
        with pytest.raises(WorkerTimeout, match="waiting in line"):
            model(x=row(4), timeout=0.05)
        with pytest.raises(WorkerTimeout, match="waiting in line"):
            asyncio.run(model.acall(x=row(5), timeout=0.05))
        busy.open()
        assert [one.result(GUARD)["y"].tolist() for one in (first, last)] == [row(2).tolist(), row(6).tolist()]
        assert runs_in(seen)[-1] == [1, 3]


def test_no_worker_is_ended_for_one_while_it_computes_for_others(
    models: Path, gate: Callable[..., Gate], tmp_path: Path
) -> None:
    with load(models) as model:
        pid = model.health.pid
        busy = gate(model)
        go = str(tmp_path / "go")
        hurried = model.submit(x=row(1), until=go, timeout=1.0)
        patient = model.submit(x=row(2), until=go)
        busy.open()
        with pytest.raises(WorkerTimeout, match=r"deadline of 1 s; it was run in one batch with others"):
            hurried.result(GUARD)
        assert patient.running()
        Path(go).touch()
        assert patient.result(GUARD)["size"].tolist() == [2]
        assert model.health.pid == pid


def test_a_batch_is_due_when_the_last_of_it_is(models: Path, gate: Callable[..., Gate]) -> None:
    with load(models, timeout=1.0) as model:
        pid = model.health.pid
        busy = gate(model)
        futures = [model.submit(x=row(n)) for n in (HANGS, 1)]
        busy.open()
        for future in futures:
            with pytest.raises(WorkerTimeout, match=r"deadline of 1 s"):
                future.result(GUARD)
        assert futures[1].exception().report.stacks  # type: ignore[union-attr]
        assert model(x=row(1), timeout=GUARD)["y"][0, 0] == 2
        assert model.health.pid != pid


def test_a_batch_is_due_earlier_when_those_with_more_time_have_left(models: Path, gate: Callable[..., Gate]) -> None:
    with load(models) as model:
        busy = gate(model)
        hurried, patient = model.submit(x=row(HANGS), timeout=1.0), model.submit(x=row(1))
        busy.open()
        with pytest.raises(WorkerTimeout, match="in one batch with others"):
            hurried.result(GUARD)
        assert not patient.cancel()  # it runs; but nobody would wait for it for ever
        with pytest.raises(WorkerTimeout, match=r"deadline of 1 s, so its worker was ended"):
            patient.result(GUARD)
        assert model(x=row(1))["y"][0, 0] == 2


def test_a_call_with_little_time_is_not_kept_waiting_for_company(models: Path) -> None:
    with load(models, batch=LONG) as model:
        model._batcher._roster.expected = 5  # type: ignore[union-attr]
        assert model(x=row(1), timeout=3.0)["size"].tolist() == [1]


# ---------------------------------------------------------------------- cancelling


def test_who_cancels_before_a_batch_is_sent_takes_its_rows_out(
    models: Path, gate: Callable[..., Gate], tmp_path: Path
) -> None:
    (seen := tmp_path / "seen").mkdir()
    with load(models, args={"seen": str(seen)}) as model:
        busy = gate(model)
        futures = [model.submit(x=row(n, rows=n)) for n in range(1, 6)]
        assert not any(future.running() for future in futures)
        assert futures[0].cancel()
        assert futures[3].cancel()
        with pytest.raises(CancelledError):
            futures[3].result(GUARD)
        busy.open()
        for n in (2, 3, 5):
            assert futures[n - 1].result(GUARD)["y"].tolist() == row(2 * n, rows=n).tolist()
        assert runs_in(seen)[-1] == [2] * 2 + [3] * 3 + [5] * 5
        assert not futures[1].cancel()


def test_all_of_a_batch_can_be_cancelled(models: Path, gate: Callable[..., Gate], tmp_path: Path) -> None:
    (seen := tmp_path / "seen").mkdir()
    with load(models, batch=Batch(max_size=2), args={"seen": str(seen)}) as model:
        busy = gate(model)
        gathering = model.submit(x=row(1))
        assert gathering.cancel()
        full = [model.submit(x=row(2)), model.submit(x=row(3))]  # it is full, so it is on its way
        assert not full[0].cancel()
        assert full[1].cancel()
        for future in full:
            with pytest.raises(CancelledError):
                future.result(GUARD)
        busy.open()
        assert runs_in(seen) == [[0]]
        assert model(x=row(1))["y"][0, 0] == 2


def test_a_model_sees_when_nobody_wants_its_batch(models: Path, gate: Callable[..., Gate]) -> None:
    with load(models) as model:
        busy = gate(model)
        futures = [model.submit(x=row(n)) for n in (YIELDS, 1)]
        busy.open()
        until(futures[0].running)
        assert [future.cancel() for future in futures] == [False, False]
        for future in futures:
            with pytest.raises(ModelError, match="nobody wants it"):
                future.result(GUARD)


def test_a_task_that_is_cancelled_leaves(models: Path, gate: Callable[..., Gate], tmp_path: Path) -> None:
    (seen := tmp_path / "seen").mkdir()

    async def cancel_one(model: isopod.Model, busy: Gate) -> Any:
        tasks = [asyncio.create_task(model.acall(x=row(n))) for n in range(3)]
        while waiting(model) < 3:
            await asyncio.sleep(0)
        tasks[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[1]
        await asyncio.to_thread(busy.open)
        return [await tasks[0], await tasks[2]]

    with load(models, args={"seen": str(seen)}) as model:
        found = asyncio.run(cancel_one(model, gate(model)))
        assert [out["y"][0, 0] for out in found] == [0, 4]
        assert runs_in(seen)[-1] == [0, 2]
