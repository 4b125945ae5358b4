"""Micro-batching: whose rows are run together, and where they lie."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batch_calls import LONG, Gate, in_threads, join, load, row, waiting
from waits import GUARD, until

import isopod
from isopod import ArenaFull, Batch, Closed, ModelError, Overloaded, Restart, SpecError, WorkerCrashed

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
                    unwanted = random.random() < 0.2
                    if unwanted and future.cancel():
                        continue
                    try:
                        y, x = future.result(GUARD)["y"], sent
                    except WorkerCrashed:  # it had begun, so its outcome counts; but nobody wants it a second time
                        assert unwanted
                        continue
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
                    with contextlib.suppress(ProcessLookupError):  # it is dead from the time before, and not seen yet
                        os.kill(worker.pid, 9)
        join(threads)
        assert not [answered for answered in found if not isinstance(answered, int) or answered <= 10]
        assert model(x=row(1))["y"][0, 0] == 2
