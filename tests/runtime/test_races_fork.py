"""Forks of the application while calls are on their way: what the copy lets go of, cancels or closes is none of its
business, and the original's worker, which shares its memory with both, hears nothing of it."""

from __future__ import annotations

import os
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batch_calls import in_threads, join, load, waiting
from waits import GUARD, until

import isopod

MODELS = Path(__file__).resolve().parent.parent / "models"


def in_a_copy(work: Callable[[], object]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads and fork: what this is about
        pid = os.fork()
    if pid == 0:
        signal.alarm(int(GUARD))
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.fixture
def model() -> Iterator[isopod.Model]:
    with isopod.load(MODELS / "races.py:Patient") as model:
        yield model
        assert model(x=1)["x"][0] == 1
        assert model.stats().crashes == 0


def test_a_copy_that_leaves_a_map_takes_no_call_back(model: isopod.Model, tmp_path: Path) -> None:
    begun, go_on = tmp_path / "begun", tmp_path / "go on"
    batches: list[dict[str, Any]] = [{"begun": str(begun), "until": str(go_on)}, *({"x": x} for x in range(3))]
    outputs: Any = model.map([{"x": 7}, *batches], ahead=3)
    assert next(outputs)["x"][0] == 7
    until(begun.exists)
    in_a_copy(outputs.close)
    go_on.touch()
    assert [out["x"][0] for out in outputs] == [0, 0, 1, 2]


@pytest.mark.parametrize("behind", [3, 70], ids=["in the ring", "in the backlog"])
def test_a_copy_cancels_nothing(model: isopod.Model, tmp_path: Path, behind: int) -> None:
    begun, go_on = tmp_path / "begun", tmp_path / "go on"
    futures = [model.submit(begun=str(begun), until=str(go_on)), *(model.submit(x=x) for x in range(behind))]
    until(begun.exists)

    def cancel() -> None:
        assert {future.cancel() for future in futures} == {False}

    in_a_copy(cancel)
    go_on.touch()
    assert [future.result(GUARD)["x"][0] for future in futures] == [0, *range(behind)]


def test_the_lock_of_the_calls_may_be_held_by_whom_there_is_no_copy_of(model: isopod.Model, tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    future = model.submit(until=str(go_on))
    (session,) = model._deployment._living()
    locked, over = threading.Event(), threading.Event()

    def hold() -> None:
        with session.flight.lock:
            locked.set()
            over.wait(GUARD)

    thread = threading.Thread(target=hold)
    thread.start()
    assert locked.wait(GUARD)
    in_a_copy(future.cancel)
    over.set()
    thread.join()
    go_on.touch()
    assert future.result(GUARD)["x"][0] == 0


def test_a_copy_that_closes_the_model_sends_no_batch() -> None:
    with load(MODELS, batch=isopod.Batch(16, max_delay=1000.0)) as model:
        model.submit(x=np.ones((1, 3))).result(GUARD)
        assert model._batcher is not None
        model._batcher._roster.expected = 3
        threads, found = in_threads([lambda: model(x=np.ones((1, 3)))] * 2)
        until(lambda: waiting(model) == 2)
        runs = model.stats().runs
        in_a_copy(model.close)
        assert model(x=np.ones((1, 3)), timeout=GUARD)["y"].tolist() == [[2.0] * 3]
        join(threads)
        assert [one["y"].tolist() for one in found] == [[[2.0] * 3]] * 2
        assert model.stats().runs == runs + 1
        assert model.stats().crashes == 0
