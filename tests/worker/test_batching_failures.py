"""Micro-batching in bad times: errors and deaths, and whose they are."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from batch_calls import DIES, DROPS, NAMES, PAIRS, RAISES, Gate, in_threads, join, load, row, runs_in
from waits import GUARD, until

from isopod import Batch, ModelError, Restart, WorkerCrashed

# ---------------------------------------------------------------------- what a model returns and raises


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        (DROPS, r"output 'y' is float64 \(\d, 3\), and \d rows went in"),
        (PAIRS, r"output 'pairs' is a list"),
        (NAMES, r"output 'mean' is float64 \(\), and \d rows went in"),
    ],
)
def test_outputs_without_a_row_for_each_are_an_error_alone_and_together(
    models: Path, gate: Callable[..., Gate], mode: int, told: str
) -> None:
    with load(models) as model:
        with pytest.raises(ModelError, match=f"'Rows' batches its calls.*{told}"):
            model(x=row(mode))
        busy = gate(model)
        futures = [model.submit(x=row(mode)), model.submit(x=row(1))]
        busy.open()
        for future in futures:
            with pytest.raises(ModelError, match=told):
                future.result(GUARD)
        assert model(x=row(1))["y"][0, 0] == 2


def test_an_exception_is_everybodys(models: Path, gate: Callable[..., Gate]) -> None:
    with load(models) as model:
        busy = gate(model)
        futures = [model.submit(x=row(n)) for n in (1, RAISES, 2)]
        busy.open()
        errors = [future.exception(GUARD) for future in futures]
        assert len(set(map(id, errors))) == 3
        for error in errors:
            assert isinstance(error, ModelError)
            assert (error.type_name, error.remote_message) == ("ValueError", "a bad row")
        assert model.stats().errors == 3
        assert model(x=row(1))["size"].tolist() == [1]


def test_errors_can_be_told_only_to_those_that_cause_them(
    models: Path, gate: Callable[..., Gate], tmp_path: Path
) -> None:
    (seen := tmp_path / "seen").mkdir()
    batch = Batch(isolate_errors=True)
    with load(models, batch=batch, args={"seen": str(seen)}) as model:
        busy = gate(model)
        futures = [model.submit(x=row(n)) for n in (1, RAISES, 2)]
        threads, found = in_threads([lambda: model(x=row(3))])
        busy.await_callers(4)
        busy.open()
        join(threads)
        assert futures[0].result(GUARD)["y"][0, 0] == 2
        with pytest.raises(ModelError, match="a bad row"):
            futures[1].result(GUARD)
        assert futures[2].result(GUARD)["y"][0, 0] == 4
        assert found[0]["y"][0, 0] == 6
        assert runs_in(seen) == [[0], [1, RAISES, 2, 3], [1], [RAISES], [2], [3]]
        assert model.stats().errors == 1
        with pytest.raises(ModelError, match="a bad row"):
            model(x=row(RAISES))


# ---------------------------------------------------------------------- deaths


def test_a_crash_is_everybodys_without_retries(models: Path, gate: Callable[..., Gate], tmp_path: Path) -> None:
    (seen := tmp_path / "seen").mkdir()
    with load(models, args={"seen": str(seen)}) as model:
        busy = gate(model)
        futures: list[Future[Any]] = [model.submit(x=row(n)) for n in (1, DIES, 2)]
        threads, found = in_threads([lambda: model(x=row(3))])
        busy.await_callers(4)
        busy.open()
        join(threads)
        for error in (*(future.exception(GUARD) for future in futures), found[0]):
            assert isinstance(error, WorkerCrashed)
            assert "SIGKILL" in str(error)
            assert "x float64 (4, 3)" in str(error)
        assert runs_in(seen) == [[0], [1, DIES, 2, 3]]
        assert model(x=row(1))["y"][0, 0] == 2


def test_a_lone_call_is_tried_again_as_it_was_sent(models: Path, tmp_path: Path) -> None:
    """RACE changed inputs: its caller had them back when ``submit`` returned."""
    (seen := tmp_path / "seen").mkdir()
    with load(models, args={"seen": str(seen)}, retries=2) as model:
        x = row(DIES)
        future = model.submit(x=x, deadly=2)
        x[:] = 7
        assert future.result(GUARD)["y"].tolist() == [[2 * DIES] * 3]
        assert runs_in(seen) == [[DIES]] * 3
        with pytest.raises(WorkerCrashed, match="this call has killed 3 workers"):
            model(x=row(DIES))
        assert model(x=row(1))["y"][0, 0] == 2


def test_a_call_that_kills_takes_its_fellows_down_only_once(
    models: Path, gate: Callable[..., Gate], tmp_path: Path
) -> None:
    (seen := tmp_path / "seen").mkdir()
    with load(models, args={"seen": str(seen)}, retries=1, restart=Restart(max_restarts=None)) as model:
        busy = gate(model)
        futures = [model.submit(x=row(n)) for n in (1, DIES, 2)]
        threads, found = in_threads([lambda: model(x=row(3))])
        busy.await_callers(4)
        busy.open()
        join(threads)
        assert [futures[0].result(GUARD)["y"][0, 0], futures[2].result(GUARD)["y"][0, 0]] == [2, 4]
        assert found[0]["y"][0, 0] == 6
        with pytest.raises(WorkerCrashed, match="this call has killed 2 workers"):
            futures[1].result(GUARD)
        assert runs_in(seen) == [[0], [1, DIES, 2, 3], [1], [DIES], [2], [3]]
        assert model.stats().crashes == 2
        assert model(x=row(1))["y"][0, 0] == 2


def test_a_crash_is_invisible_where_it_is_tried_again(models: Path, gate: Callable[..., Gate], tmp_path: Path) -> None:
    (seen := tmp_path / "seen").mkdir()
    with load(models, args={"seen": str(seen)}, retries=1) as model:
        busy = gate(model)
        futures = [model.submit(x=row(n), deadly=1) for n in (1, DIES)]
        busy.open()
        assert [future.result(GUARD)["y"][0, 0] for future in futures] == [2, -2]
        assert model(x=row(1))["y"][0, 0] == 2


def test_a_batch_that_no_worker_had_begun_goes_on_whole(
    models: Path, gate: Callable[..., Gate], tmp_path: Path
) -> None:
    (seen := tmp_path / "seen").mkdir()
    with load(models, batch=Batch(max_size=2), args={"seen": str(seen)}) as model:
        busy = gate(model)
        futures = [model.submit(x=row(n)) for n in (1, 2)]  # it is full, so it is in line behind the other
        until(lambda: runs_in(seen))
        os.kill(model.health.pid or 0, 9)
        assert [future.result(GUARD)["size"].tolist() for future in futures] == [[2], [2]]
        with pytest.raises(WorkerCrashed):
            busy.future.result(GUARD)
        assert runs_in(seen) == [[0], [1, 2]]


def test_callers_gather_while_there_is_no_worker(models: Path, tmp_path: Path) -> None:
    (seen := tmp_path / "seen").mkdir()
    with load(models, args={"seen": str(seen)}, restart=Restart(max_restarts=None)) as model:
        for _ in range(3):
            with pytest.raises(WorkerCrashed):
                model(x=row(DIES))
            threads, found = in_threads([functools.partial(model, x=row(n), timeout=GUARD) for n in range(8)])
            join(threads)
            assert [out["y"][0, 0] for out in found] == [2 * n for n in range(8)]
