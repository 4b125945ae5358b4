"""Futures that are cancelled: what has not begun never begins, what has is told, each ends once."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import random
import signal
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from waits import GUARD, until
from worker.cancellation.sampling import busy, sampler

import isopod
from isopod import ModelError, WorkerCrashed


@pytest.mark.parametrize("count", [60, 200], ids=["in the ring", "in the backlog too"])
def test_a_queue_that_is_cancelled_never_reaches_the_model(model: isopod.Model, tmp_path: Path, count: int) -> None:
    calls = model()["calls"]
    done: list[Future[Any]] = []
    with busy(model, tmp_path):
        queue = [model.submit(x=np.full(1000, number)) for number in range(count)]
        for one in queue:
            one.add_done_callback(done.append)
        assert not any(one.running() or one.done() for one in queue)
        assert all(one.cancel() for one in queue)
        assert all(one.cancel() and one.cancelled() and one.done() for one in queue)
        assert done == queue
        assert concurrent.futures.wait(queue, GUARD).not_done == set()
        assert set(concurrent.futures.as_completed(queue, GUARD)) == set(queue)
        with pytest.raises(CancelledError):
            queue[0].result(GUARD)
    assert model()["calls"] == calls + 2  # the slow one, and this one


def test_memory_of_the_backlog_is_free_at_once_and_that_of_the_ring_when_the_worker_has_passed_it(
    model: isopod.Model, tmp_path: Path
) -> None:
    with busy(model, tmp_path):
        ring = [model.submit(x=number) for number in range(70)]  # fills it
        used = model.stats().shared_bytes_used
        late = [model.submit(x=np.full(1000, number)) for number in range(10)]
        assert model.stats().shared_bytes_used > used
        assert all(one.cancel() for one in late)
        assert model.stats().shared_bytes_used == used
        large = model.submit(x=np.zeros(100_000))
        assert all(one.cancel() for one in [*ring, large])
    until(lambda: model.stats().shared_bytes_used == 0)


def test_a_running_call_is_not_cancelled_but_the_model_can_stop(model: isopod.Model, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    running = model.submit(do="until_cancelled", begun=str(begun), x=7)
    until(begun.exists)
    assert running.running()
    assert running.cancel() is False
    assert not running.cancelled()
    assert running.result(GUARD)["x"] == 7
    assert not running.running()
    assert running.cancel() is False
    begun.unlink()
    raising = model.submit(do="raise_when_cancelled", begun=str(begun))
    until(begun.exists)
    assert raising.cancel() is False
    with pytest.raises(ModelError, match="stopped in step 17"):
        raising.result(GUARD)


def test_a_future_that_asyncio_wraps_is_cancelled_by_it(model: isopod.Model, tmp_path: Path) -> None:
    calls = model()["calls"]
    with busy(model, tmp_path):
        inner = model.submit(x=1)

        async def cancel() -> None:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.wrap_future(inner), 0.01)

        asyncio.run(cancel())
        assert inner.cancelled()
    assert model()["calls"] == calls + 2


def test_cancelled_calls_do_not_count(model: isopod.Model, tmp_path: Path) -> None:
    before = model.stats()
    with busy(model, tmp_path):
        assert model.submit(x=1).cancel()
    model()
    after = model.stats()
    assert (after.calls - before.calls, after.errors - before.errors) == (2, 0)


def test_cancelling_a_call_of_a_dead_worker_ends_it_once(tmp_path: Path) -> None:
    with sampler() as model:
        pid = model()["pid"]
        with contextlib.suppress(WorkerCrashed), busy(model, tmp_path):
            queue = [model.submit(x=number) for number in range(100)]
            os.kill(pid, signal.SIGKILL)
            cancelled = [one.cancel() for one in queue]
        for one, was in zip(queue, cancelled, strict=True):
            if was:
                assert one.cancelled()
            else:  # it ran when the worker was killed, or at the next one already
                error = one.exception(GUARD)
                assert error is None or isinstance(error, WorkerCrashed)
        assert model(x=1)["x"] == 2


@pytest.mark.parametrize("seed", range(3))
def test_any_mixture_of_calls_and_cancels_ends_each_once(model: isopod.Model, seed: int) -> None:
    ended: dict[int, int] = {}
    lock = threading.Lock()
    wrong: list[str] = []
    cancelled: list[int] = []
    calls = model()["calls"]

    def use(number: int) -> None:
        chance = random.Random(seed * 100 + number)
        alive: list[tuple[int, Future[Any]]] = []

        def count(key: int) -> Callable[[Future[Any]], None]:
            def told(_: Future[Any]) -> None:
                with lock:
                    ended[key] = ended.get(key, 0) + 1

            return told

        def look(key: int, one: Future[Any]) -> None:
            try:
                outputs = one.result(GUARD)
            except CancelledError:
                with lock:
                    cancelled.append(key)
                return
            if set(outputs["x"].tolist()) != {2 * key}:
                wrong.append(f"{key} was answered {outputs['x']}")

        for turn in range(150):
            key = number * 1000 + turn
            one = model.submit(x=np.full(chance.choice([1, 500, 5000]), key))
            one.add_done_callback(count(key))
            alive.append((key, one))
            if chance.random() < 0.6:
                chosen = chance.choice([*alive, alive[0], alive[-1]])[1]  # the ends are where it begins
                had_answer = chosen.done() and not chosen.cancelled()
                if chosen.cancel() is not chosen.cancelled() or (had_answer and chosen.cancelled()):
                    wrong.append(f"cancelling {key} was not what it said")
            if len(alive) > chance.choice([1, 10, 90]):
                look(*alive.pop(0))
        for key, one in alive:
            look(key, one)

    users = [threading.Thread(target=use, args=(number,)) for number in range(3)]
    for user in users:
        user.start()
    for user in users:
        user.join(GUARD)
    assert wrong == []
    until(lambda: len(ended) == 450)
    assert set(ended.values()) == {1}
    assert model()["calls"] == calls + 450 - len(cancelled) + 1  # what was cancelled did not run
    assert 0 < len(cancelled) < 450
