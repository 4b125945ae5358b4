"""What a death leaves behind: what its caller reads, and what goes on. Which deaths there are is in ``matrix``."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from waits import GUARD, until

import isopod
from isopod import CrashReport, WorkerCrashed, WorkerTimeout


@pytest.fixture
def dying(models: Path) -> Iterator[isopod.Model]:
    with isopod.load(models / "deaths.py:Dying", restart=isopod.Restart(max_restarts=None)) as model:
        yield model
        assert model(x=1)["y"] == 2


@pytest.mark.parametrize("way", ["sigsegv", "endless"])
def test_what_a_caller_reads(dying: isopod.Model, way: str) -> None:
    before = dying(x=1)["pid"]
    restarts = dying.health.restarts
    with pytest.raises((WorkerCrashed, WorkerTimeout)) as caught:
        dying(way=way, timeout=0.5 if way == "endless" else None)
    text, report = str(caught.value), getattr(caught.value, "report", None)
    assert isinstance(report, CrashReport)
    assert f"the worker of model 'Dying' (pid {before}) died while running a call" in text
    assert f"about to meet {way}" in text
    assert "in in_call" in text
    assert "opeworker" not in text  # what is ours in the stacks is of no use to anybody
    assert "A new worker takes its place" in text
    health = dying.health
    assert health.state in ("starting", "loading", "ready")  # at once, and without being asked
    assert health.pid != before
    assert health.last_crash is report
    assert dying(x=1)["pid"] != before
    assert dying.health.restarts == restarts + 1


def test_a_call_with_a_deadline_that_nobody_waits_for_still_frees_the_worker(dying: isopod.Model) -> None:
    """A task is cancelled, and its call hangs: at its deadline the worker is ended, or it would hang for ever."""

    async def cancelled() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(dying.acall(way="endless", timeout=1.0), 0.1)

    before = dying(x=1)["pid"]
    asyncio.run(cancelled())
    assert dying(x=1, timeout=GUARD)["pid"] != before  # it was in line behind it, and no model had seen it


def test_a_callback_may_try_again_while_others_do(dying: isopod.Model) -> None:
    """The callback runs on the dead worker's dispatcher, and needs the new one as everybody else does."""
    for _ in range(3):
        again: Future[Any] = Future()

        def retry(failed: Future[Any], again: Future[Any] = again) -> None:
            try:
                assert isinstance(failed.exception(), WorkerCrashed)
                again.set_result(dying(x=5)["y"])
            except BaseException as error:
                again.set_exception(error)

        dying.submit(way="os_exit").add_done_callback(retry)
        others = [threading.Thread(target=_until_it_works, args=(dying,)) for _ in range(3)]
        for other in others:
            other.start()
        assert again.result(GUARD) == 10
        for other in others:
            other.join(GUARD)
            assert not other.is_alive()
    assert dying(x=1)["y"] == 2


def _until_it_works(model: isopod.Model) -> None:
    for _ in range(10):
        try:
            model(x=1)
        except WorkerCrashed:
            continue
        return


def test_a_map_that_is_left_when_its_worker_has_died_keeps_nothing(models: Path) -> None:
    with isopod.load(models / "deaths.py:Dying") as model:
        answers = model.map([{"x": 1}, {"way": "os_exit"}, {"x": 2}, {"x": 3}])
        next(answers)
        until(lambda: not model.health.ready)
        answers.close()  # type: ignore[attr-defined]
        assert model(x=1)["y"] == 2
    del answers
    gc.collect()


def test_inputs_and_outputs_survive_a_death(dying: isopod.Model) -> None:
    array = dying.empty("x", 100, np.float64)
    array[:] = 1.5
    out = dying(x=array)["y"]
    with pytest.raises(WorkerCrashed):
        dying(way="sigkill")
    assert array.tolist() == [1.5] * 100
    assert out.tolist() == [3.0] * 100
    assert dying(x=array)["y"].tolist() == out.tolist()
