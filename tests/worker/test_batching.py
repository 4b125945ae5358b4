"""Micro-batching: whose rows are run together, and what each caller gets of it, in good times and in bad."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import isopod
from isopod import ArenaFull, Batch, Closed, ModelError, Overloaded, Restart, SpecError, WorkerCrashed, WorkerTimeout

GUARD = 60.0  # seconds: a hang guard
DIES, RAISES, DROPS, PAIRS, NAMES, HANGS, YIELDS = -1, -2, -3, -4, -5, -6, -7  # as in the model's file
LONG = Batch(max_delay=1000.0)  # nobody's patience ends by itself


def until(condition: Callable[[], Any]) -> None:
    """Look until it holds."""
    give_up = time.monotonic() + GUARD
    while not condition():
        assert time.monotonic() < give_up
        os.sched_yield()


def row(value: float, rows: int = 1) -> Any:
    return np.full((rows, 3), value, np.float64)


def waiting(model: Any) -> int:
    """How many callers have written their rows into batches that are not sent."""
    roster = model._batcher._roster
    with roster.lock:
        return sum(len(group.members) - len(group.writers) for group in roster.gathering.values())


class Gate:
    """Keeps the worker of a model busy, with a call that nobody can join, until it is opened."""

    def __init__(self, model: isopod.Model, path: Path) -> None:
        self._model, self._path = model, path
        runs = model.stats().runs
        self.future = model.submit(x=row(0), until=str(path))
        until(self.future.running)
        assert model.stats().runs == runs

    def await_callers(self, count: int) -> None:
        until(lambda: waiting(self._model) == count)

    def open(self) -> None:
        self._path.touch()
        self.future.result(GUARD)


@pytest.fixture
def gate(tmp_path: Path) -> Callable[[isopod.Model], Gate]:
    numbers = iter(range(100))
    return lambda model: Gate(model, tmp_path / f"gate-{next(numbers)}")


def load(models: Path, name: str = "Rows", **options: Any) -> isopod.Model:
    options.setdefault("batch", Batch(max_size=16, max_delay=0.001))
    return isopod.load(models / f"batches.py:{name}", **options)


def in_threads(calls: list[Callable[[], Any]]) -> tuple[list[threading.Thread], list[Any]]:
    """Each in a thread of its own; what it returned or raised is put into its place of the list."""
    found: list[Any] = [None] * len(calls)

    def run(place: int) -> None:
        try:
            found[place] = calls[place]()
        except Exception as error:
            found[place] = error

    threads = [threading.Thread(target=run, args=(place,), daemon=True) for place in range(len(calls))]
    for thread in threads:
        thread.start()
    return threads, found


def join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(GUARD)
        assert not thread.is_alive()


def runs_in(folder: Path) -> list[list[int]]:
    """What a model saw: the first value of each row of each run, in order."""
    names = sorted(path.name for path in folder.iterdir())
    return [[int(value) for value in name.split("-", 1)[1].split(",")] for name in names]


# ---------------------------------------------------------------------- together


def test_callers_of_a_busy_worker_are_run_together(models: Path, gate: Callable[..., Gate]) -> None:
    with load(models) as model:
        busy = gate(model)
        threads, found = in_threads([functools.partial(model, x=row(n, rows=n % 3 + 1)) for n in range(1, 8)])
        busy.await_callers(7)
        busy.open()
        join(threads)
        total = sum(n % 3 + 1 for n in range(1, 8))
        for n, out in enumerate(found, 1):
            assert out["y"].tolist() == row(2 * n, rows=n % 3 + 1).tolist()
            assert out["size"].tolist() == [total] * (n % 3 + 1)
        stats = model.stats()
        assert (stats.calls, stats.runs, stats.errors) == (8, 2, 0)
        assert stats.latency.samples == 8
        assert "4.0 in a batch" in str(stats)


def test_a_lone_caller_is_not_held_up_and_nothing_of_it_is_copied(models: Path) -> None:
    with load(models, batch=LONG) as model:
        x = model.empty("x", (2, 3), np.float64)
        x[:] = 1
        for _ in range(20):
            assert model(x=x)["size"].tolist() == [2, 2]
        stats = model.stats()
        assert (stats.calls, stats.runs, stats.bytes_copied_in) == (20, 20, 0)


def test_rows_are_copied_once(models: Path, gate: Callable[..., Gate]) -> None:
    with load(models) as model:
        busy = gate(model)
        before = model.stats().bytes_copied_in
        futures = [model.submit(x=row(n)) for n in range(4)]
        assert model.stats().bytes_copied_in - before == 4 * row(0).nbytes
        busy.open()
        assert [future.result(GUARD)["size"][0] for future in futures] == [4] * 4
        assert model.stats().bytes_copied_in - before == 4 * row(0).nbytes


def test_a_batch_that_is_full_goes_and_no_call_is_taken_apart(models: Path, gate: Callable[..., Gate]) -> None:
    with load(models, batch=Batch(max_size=8)) as model:
        busy = gate(model)
        futures = [model.submit(x=row(n, rows=3)) for n in range(5)]
        busy.await_callers(1)  # two batches of two are on their way
        busy.open()
        assert [future.result(GUARD)["size"][0] for future in futures] == [6, 6, 6, 6, 3]


@pytest.mark.parametrize("rows", [0, 9])
def test_what_cannot_join_others_runs_by_itself(models: Path, gate: Callable[..., Gate], rows: int) -> None:
    with load(models, batch=Batch(max_size=8)) as model:
        busy = gate(model)
        futures = [model.submit(x=row(1)), model.submit(x=row(2, rows)), model.submit(x=row(3))]
        busy.await_callers(2)
        busy.open()
        assert [future.result(GUARD)["size"].tolist() for future in futures] == [[2], [rows] * rows, [2]]
        assert model(x=row(2, rows))["y"].tolist() == row(4, rows).tolist()


def test_only_what_is_alike_is_run_together(models: Path, gate: Callable[..., Gate]) -> None:
    with load(models) as model:
        busy = gate(model)
        calls: list[dict[str, Any]] = [
            {"x": row(1)},
            {"x": np.ones((1, 4))},  # another shape
            {"x": row(1).astype("f4")},  # another dtype
            {"x": row(1), "extra": 1},  # a value that the others do not have
            {"x": row(1), "extra": 2},
            {"x": row(1), "hint": np.float32(0.5)},  # a scalar is a value, too
            {"x": row(1), "hint": np.float64(0.5)},
        ]
        again: list[dict[str, Any]] = [
            {"x": row(2).astype(">f8")},  # sent as the others are
            {"x": np.asfortranarray(np.ones((2, 4)))},
            {"extra": 1, "x": row(2)},  # the order is the caller's affair
            {"x": row(2), "hint": np.float32(0.5)},
        ]
        futures = [model.submit(**call) for call in (*calls, *again)]
        busy.await_callers(len(futures))
        busy.open()
        sizes = [int(future.result(GUARD)["size"][0]) for future in futures]
        assert sizes == [2, 3, 1, 2, 1, 2, 1, 2, 3, 2, 2]
        assert futures[3].result()["extra"] == 1


def test_values_are_those_of_the_moment_of_the_call(models: Path, gate: Callable[..., Gate]) -> None:
    with load(models, "echo") as model, load(models) as other:
        values, x, text = [1, 2], row(1), np.array(["a"], dtype=object)
        model._batcher._roster.expected = 2  # type: ignore[union-attr]
        future = model.submit(x=x, values=values, text=text)
        values.append(3)
        x[:] = 5
        text[0] = "b"
        with pytest.raises(ModelError, match=r"output 'values' is a list"):  # which no model may return from a batch
            future.result(GUARD)
        busy = gate(other)
        first, second = other.submit(x=x), other.submit(x=x)
        x[:] = 7
        busy.open()
        assert [one.result(GUARD)["y"][0, 0] for one in (first, second)] == [10, 10]


def test_tasks_are_run_together(models: Path, gate: Callable[..., Gate]) -> None:
    async def all_of_them(model: isopod.Model, busy: Gate) -> list[Any]:
        tasks = [asyncio.create_task(model.acall(x=row(n))) for n in range(10)]
        while waiting(model) < 10:
            await asyncio.sleep(0)
        await asyncio.to_thread(busy.open)
        return await asyncio.gather(*tasks)

    with load(models) as model:
        found = asyncio.run(all_of_them(model, gate(model)))
        assert [out["y"][0, 0] for out in found] == [2 * n for n in range(10)]
        assert {int(out["size"][0]) for out in found} == {10}
        assert asyncio.run(model.acall(x=row(4)))["y"][0, 0] == 8


def test_a_map_is_in_order_and_its_batches_are_run_together(models: Path) -> None:
    with load(models) as model:
        outs = list(model.map(({"x": row(n, rows=n % 2 + 1)} for n in range(100)), ahead=8))
        assert [out["y"][0, 0] for out in outs] == [2 * n for n in range(100)]
        assert [len(out["y"]) for out in outs] == [n % 2 + 1 for n in range(100)]
        assert model.stats().calls == 100
        assert model.stats().runs < 60
        walk: Any = model.map({"x": row(n)} for n in range(100))
        assert next(walk)["y"][0, 0] == 0
        walk.close()
        assert model(x=row(1))["y"][0, 0] == 2


def test_several_workers_share_the_batches(models: Path, gate: Callable[..., Gate]) -> None:
    with load(models, workers=2) as model:
        first, second = gate(model), gate(model)
        futures = [model.submit(x=row(n)) for n in range(6)]
        first.await_callers(6)
        first.open()
        assert {int(future.result(GUARD)["size"][0]) for future in futures} == {6}
        second.open()
        assert len({first.future.result()["pid"], second.future.result()["pid"]}) == 2


def test_text_is_run_together(models: Path, gate: Callable[..., Gate], tmp_path: Path) -> None:
    with load(models, "texts", batch=Batch(max_delay=0.5)) as model:
        model._batcher._roster.expected = 3  # type: ignore[union-attr]
        words = [np.array(["a", "bcd"]), np.array(["é" * 50]), np.array(["x"], dtype=object)]
        futures = [model.submit(text=one) for one in words]
        found = [future.result(GUARD) for future in futures]
        assert [out["twice"].tolist() for out in found] == [["aa", "bcdbcd"], ["é" * 100], ["xx"]]
        assert [int(out["size"][0]) for out in found] == [3, 3, 1]
        with pytest.raises(SpecError, match="text"):
            model.submit(text=np.array([object()], dtype=object))


def test_a_problem_says_which_inputs_have_rows(models: Path, gate: Callable[..., Gate]) -> None:
    problem = isopod.Problem(
        "above",
        inputs=[
            isopod.Input("image", "float32", ("batch", "n")),
            isopod.Input("anchors", "float32", ("k",), default=[1, 2]),
            isopod.Input("threshold", "float32", (), default=0.5),
        ],
        outputs=[isopod.Output("above", "int64", ("batch",))],
        shared=["batch"],
    )
    with load(models, "apart", problem=problem, batch=Batch(max_delay=0.5)) as model:
        model._batcher._roster.expected = 2  # type: ignore[union-attr]
        one, two = np.ones((1, 4), np.float32), np.zeros((2, 4), np.float32)
        futures = [model.submit(image=image) for image in (one, two)]
        assert [future.result(GUARD)["above"].tolist() for future in futures] == [[4], [0, 0]]
        assert futures[0].result()["size"].tolist() == [3]
        other = model.submit(image=one, threshold=np.float32(2))
        assert other.result(GUARD)["above"].tolist() == [0]
    with load(models, "apart") as model, pytest.raises(SpecError, match=r"'image' has 2, 'anchors' has 1.*'batch'"):
        model(image=np.ones((2, 4)), threshold=0.5, anchors=np.ones(1))


# ---------------------------------------------------------------------- memory


def test_each_caller_has_a_view_and_the_last_of_them_frees_the_block(models: Path, gate: Callable[..., Gate]) -> None:
    with load(models) as model:
        busy = gate(model)
        x = np.ones((1, 1 << 16))
        futures = [model.submit(x=x * n) for n in range(4)]
        busy.open()
        outs = [future.result(GUARD) for future in futures]
        bases = {id(out["y"].base) for out in outs}
        assert len(bases) == 1
        assert all(out["y"].flags.writeable for out in outs)
        outs[0]["y"][:] = -1  # its own rows, and nobody else's
        assert [out["y"][0, 0] for out in outs] == [-1, 2, 4, 6]
        kept = outs[3]["y"]
        root = weakref.ref(kept.base)
        del outs, futures, busy
        assert root() is not None
        assert kept[0, 0] == 6
        del kept
        assert root() is None
        assert model(x=row(1))["y"][0, 0] == 2
        assert model.stats().shared_bytes_used == 0


def test_rows_that_a_model_keeps_are_not_given_to_others(models: Path, gate: Callable[..., Gate]) -> None:
    with load(models) as model:
        model(x=row(1), keep=True)
        busy = gate(model)
        futures = [model.submit(x=row(n), keep=True) for n in range(4)]
        busy.open()
        assert [future.result(GUARD)["y"][0, 0] for future in futures] == [0, 2, 4, 6]
        assert model.stats().shared_bytes_used > 0
        assert model(x=row(9))["y"][0, 0] == 18


def test_no_room_for_a_batch_is_its_callers_error(models: Path) -> None:
    with load(models, memory_limit=1 << 20, batch=Batch(max_size=64)) as model:
        model._batcher._roster.expected = 2  # type: ignore[union-attr]
        with pytest.raises(ArenaFull, match="no room for"):
            model(x=np.ones((1, 1 << 13)), timeout=0.05)
        assert model(x=row(1))["y"][0, 0] == 2


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
        hurried = model.submit(x=row(1), until=go, timeout=0.3)
        patient = model.submit(x=row(2), until=go)
        busy.open()
        with pytest.raises(WorkerTimeout, match=r"deadline of 0\.3 s; it was run in one batch with others"):
            hurried.result(GUARD)
        assert patient.running()
        Path(go).touch()
        assert patient.result(GUARD)["size"].tolist() == [2]
        assert model.health.pid == pid


def test_a_batch_is_due_when_the_last_of_it_is(models: Path, gate: Callable[..., Gate]) -> None:
    with load(models, timeout=0.4) as model:
        pid = model.health.pid
        busy = gate(model)
        futures = [model.submit(x=row(n)) for n in (HANGS, 1)]
        busy.open()
        for future in futures:
            with pytest.raises(WorkerTimeout, match=r"deadline of 0\.4 s"):
                future.result(GUARD)
        assert futures[1].exception().report.stacks  # type: ignore[union-attr]
        assert model(x=row(1), timeout=GUARD)["y"][0, 0] == 2
        assert model.health.pid != pid


def test_a_batch_is_due_earlier_when_those_with_more_time_have_left(models: Path, gate: Callable[..., Gate]) -> None:
    with load(models) as model:
        busy = gate(model)
        hurried, patient = model.submit(x=row(HANGS), timeout=0.2), model.submit(x=row(1))
        busy.open()
        with pytest.raises(WorkerTimeout, match="in one batch with others"):
            hurried.result(GUARD)
        assert not patient.cancel()  # it runs; but nobody would wait for it for ever
        with pytest.raises(WorkerTimeout, match=r"deadline of 0\.2 s, so its worker was ended"):
            patient.result(GUARD)
        assert model(x=row(1))["y"][0, 0] == 2


def test_a_call_with_little_time_is_not_kept_waiting_for_company(models: Path) -> None:
    with load(models, batch=LONG) as model:
        model._batcher._roster.expected = 5  # type: ignore[union-attr]
        assert model(x=row(1), timeout=2.0)["size"].tolist() == [1]


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


# ---------------------------------------------------------------------- the end


def test_max_waiting_counts_callers(models: Path, gate: Callable[..., Gate]) -> None:
    with load(models, max_waiting=3) as model:
        busy = gate(model)
        futures = [model.submit(x=row(n)) for n in range(2)]
        with pytest.raises(Overloaded, match="3 calls"):
            model.submit(x=row(2))
        assert futures[0].cancel()
        futures[0] = model.submit(x=row(2))
        busy.open()
        assert [future.result(GUARD)["y"][0, 0] for future in futures] == [4, 2]
        with pytest.raises(SpecError):
            model(x=row(1), y=object())
        assert len(list(model.map([{"x": row(1)}] * 9))) == 9


def test_close_sends_what_waits(models: Path, gate: Callable[..., Gate]) -> None:
    model = load(models, batch=LONG)
    with model:
        busy = gate(model)
        future = model.submit(x=row(1))
        busy.await_callers(1)
        threads, _ = in_threads([lambda: model.close(GUARD)])
        until(lambda: not waiting(model))
        busy.open()
        join(threads)
        assert future.result(GUARD)["y"][0, 0] == 2
    with pytest.raises(Closed):
        model(x=row(1))
    with pytest.raises(Closed):
        model.submit(x=row(1))


def test_a_new_version_batches_too(models: Path, gate: Callable[..., Gate]) -> None:
    with load(models) as model:
        busy = gate(model)
        futures = [model.submit(x=row(n)) for n in range(3)]
        threads, _ = in_threads([lambda: model.reload(args={"scale": 10})])
        join(threads)
        busy.open()
        assert {int(future.result(GUARD)["size"][0]) for future in futures} == {3}
        busy = gate(model)
        futures = [model.submit(x=row(n)) for n in range(3)]
        busy.open()
        assert [future.result(GUARD)["y"][0, 0] for future in futures] == [0, 10, 20]
        assert {int(future.result(GUARD)["size"][0]) for future in futures} == {3}


def test_a_worker_that_may_only_read_gets_batches(models: Path, gate: Callable[..., Gate]) -> None:
    with load(models, "echo", sandbox="strict", batch=LONG) as model:
        model._batcher._roster.expected = 3  # type: ignore[union-attr]
        futures = [model.submit(x=row(n)) for n in range(3)]
        outs = [future.result(GUARD)["x"] for future in futures]
        assert [out[0, 0] for out in outs] == [0, 1, 2]
        assert model.stats().runs == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"max_size": 0}, "max_size is a number of rows, at least 1, not 0"),
        ({"max_size": "8"}, "max_size is a number of rows"),
        ({"max_delay": -1}, "max_delay is a number of seconds"),
        ({"max_delay": float("nan")}, "max_delay is a number of seconds"),
        ({"symbol": ""}, "symbol is the name of a dimension"),
    ],
)
def test_settings_that_cannot_be(options: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecError, match=told):
        Batch(**options)


def test_what_is_no_batch_is_told(models: Path) -> None:
    with pytest.raises(SpecError, match=r"model 'Rows': batch is an isopod\.Batch"):
        isopod.load(models / "batches.py:Rows", batch=16)  # type: ignore[arg-type]


# ---------------------------------------------------------------------- all at once


@pytest.mark.slow
def test_every_caller_has_its_own_answer_whatever_happens(models: Path) -> None:
    """Callers of each kind, rows of several forms, deadlines, cancellations, and workers that are killed."""
    restart = Restart(max_restarts=None)
    with load(models, batch=Batch(8, 0.001), workers=2, retries=50, restart=restart) as model:
        stop = time.monotonic() + 8.0

        def call_on(seed: int) -> int:
            random, answered = np.random.default_rng(seed), 0
            while time.monotonic() < stop:
                rows, width = int(random.integers(1, 5)), int(random.integers(2, 4))
                x = random.integers(1, 1000, (rows, width)).astype(np.float64)
                if seed % 3 == 0:
                    future = model.submit(x=x, timeout=GUARD)
                    sent = x.copy()
                    x[:] = 0  # it is copied in already
                    if random.random() < 0.2 and future.cancel():
                        continue
                    y, x = future.result(GUARD)["y"], sent
                elif seed % 3 == 1:
                    y = asyncio.run(model.acall(x=x))["y"]
                else:
                    y = model(x=x)["y"]
                assert y.tolist() == (2 * x).tolist()
                answered += 1
            return answered

        threads, found = in_threads([functools.partial(call_on, seed) for seed in range(12)])
        while time.monotonic() < stop - 1:
            time.sleep(0.5)
            for worker in model.health.workers[:1]:
                if worker.state == "ready":
                    os.kill(worker.pid, 9)
        join(threads)
        assert all(isinstance(answered, int) and answered > 10 for answered in found), found
        assert model(x=row(1))["y"][0, 0] == 2
