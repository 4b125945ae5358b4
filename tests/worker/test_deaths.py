"""Ways to die × phases × callers. Each call is settled once, with the right error, and the next one works."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import isopod
from isopod import CrashReport, Env, IsopodError, ModelError, WorkerCrashed, WorkerTimeout, WorkerUnavailable

GUARD = 60.0  # seconds: a hang guard
SETTLED = 2.0  # seconds in which every caller hears of a death: a hang guard too, no figure

# way → (what the report says, whether the Python stacks are there, whether a deadline is needed)
WAYS: dict[str, tuple[str, bool, bool]] = {
    "os_exit": (r"exited with code 3 \(os\._exit", False, False),
    "sigkill": (r"killed by SIGKILL \(the kernel's out-of-memory killer", False, False),
    "sigterm": (r"killed by SIGTERM \(somebody asked", False, False),
    "sigsegv": (r"killed by SIGSEGV \(a memory error", True, False),
    "sigabrt": (r"killed by SIGABRT \(native code gave up", True, False),
    "thread_exit": (r"exited with code 4", False, False),
    "garbage_in_ring": (r"broke the data protocol", False, False),
    "garbage_on_socket": (r"broke the control protocol: a frame claims 4294967295 bytes", False, False),
    "endless": (r"passed its deadline of 0\.5 s", True, True),
    "stuck_in_native_code": (r"passed its deadline of 0\.5 s", True, True),
    "close_all": (r"passed its deadline of 0\.5 s", False, True),
}


@pytest.fixture
def dying(models: Path) -> Iterator[isopod.Model]:
    with isopod.load(models / "deaths.py:Dying", restart=isopod.Restart(max_restarts=None)) as model:
        yield model
        assert model(x=1)["y"] == 2


def deadline(way: str) -> float | None:
    return 0.5 if WAYS[way][2] else None


# Each caller makes one call that dies, and maybe others, and returns every error that was heard of.
def sync(model: isopod.Model, way: str) -> list[BaseException]:
    with pytest.raises(IsopodError) as caught:
        model(way=way, timeout=deadline(way))
    return [caught.value]


def future(model: isopod.Model, way: str) -> list[BaseException]:
    settled: list[Any] = []
    sent = [model.submit(way=way, timeout=deadline(way)), *(model.submit(x=number) for number in range(3))]
    for one in sent:
        one.add_done_callback(settled.append)
    errors = [one.exception(GUARD) for one in sent]
    while len(settled) < len(sent):
        os.sched_yield()
    assert sorted(map(id, settled)) == sorted(map(id, sent))  # each once
    return [error for error in errors if error is not None]


def task(model: isopod.Model, way: str) -> list[BaseException]:
    async def gather() -> list[Any]:
        calls = [model.acall(way=way, timeout=deadline(way)), *(model.acall(x=number) for number in range(3))]
        return await asyncio.gather(*calls, return_exceptions=True)

    return [error for error in asyncio.run(gather()) if isinstance(error, BaseException)]


def mapped(model: isopod.Model, way: str) -> list[BaseException]:
    answers = model.map([{"x": 1}, {"way": way}, {"x": 2}], timeout=deadline(way))
    assert next(answers)["y"] == 2
    with pytest.raises(IsopodError) as caught:
        next(answers)
    assert list(answers) == []
    return [caught.value]


def threads(model: isopod.Model, way: str) -> list[BaseException]:
    errors: list[BaseException] = []
    answered: list[int] = []
    stop = threading.Event()

    def work(number: int) -> None:
        while not stop.is_set():
            try:
                assert model(x=number)["y"] == 2 * number
                answered.append(number)
            except IsopodError as error:
                errors.append(error)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for worker in workers:
        worker.start()
    with pytest.raises(IsopodError) as caught:
        model(way=way, timeout=deadline(way))
    stop.set()
    for worker in workers:
        worker.join()
    return [caught.value, *errors]


CALLERS: dict[str, Callable[[isopod.Model, str], list[BaseException]]] = {
    "sync": sync, "future": future, "task": task, "map": mapped, "threads": threads,
}  # fmt: skip


def check(error: BaseException, way: str) -> CrashReport:
    fact, stacks, late = WAYS[way]
    assert isinstance(error, WorkerTimeout if late else WorkerCrashed), error
    report = error.report
    assert isinstance(report, CrashReport)
    text = str(error)
    assert re.search(fact, text), text
    assert "'Dying'" in text
    assert "running a call" in text
    assert f"about to die by {way}" in report.stderr
    assert f"about to die by {way}" in text
    assert "A new worker takes its place" in text
    assert ("in_call" in report.stacks) == ("in_call" in text)
    if stacks:
        assert "in_call" in report.stacks, report.stacks
        assert "opeworker" not in report.stacks
    return report


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_die_in_a_call(dying: isopod.Model, way: str) -> None:
    before = dying(x=1)["pid"]
    restarts = dying.health.restarts
    began = time.monotonic()
    (error,) = sync(dying, way)
    assert time.monotonic() - began < SETTLED + (deadline(way) or 0)
    report = check(error, way)
    assert report.pid == before
    health = dying.health
    assert health.state in ("starting", "loading", "ready")  # at once, and without being asked
    assert health.pid != before
    assert health.last_crash is report
    assert dying(x=1)["pid"] != before
    assert dying.health.restarts == restarts + 1
    assert not psutil.pid_exists(before)


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("way", ["sigkill", "endless", pytest.param("garbage_in_ring", marks=pytest.mark.slow)])
def test_every_caller_hears_of_it(dying: isopod.Model, way: str, caller: str) -> None:
    before = dying(x=1)["pid"]
    began = time.monotonic()
    errors = CALLERS[caller](dying, way)
    assert time.monotonic() - began < 2 * SETTLED
    assert dying(x=1)["pid"] != before
    late = [error for error in errors if isinstance(error, WorkerTimeout)]
    crashed = [error for error in errors if isinstance(error, WorkerCrashed)]
    assert len(errors) == len(late) + len(crashed)
    check((late if WAYS[way][2] else crashed)[0], way)
    for other in errors:
        assert isinstance(getattr(other, "report", None), CrashReport), other


def test_sys_exit_in_a_call_is_the_models_error(dying: isopod.Model) -> None:
    before = dying(x=1)["pid"]
    with pytest.raises(ModelError, match="raised SystemExit in a call: 7"):
        dying(way="sys_exit")
    assert dying(x=1)["pid"] == before


@pytest.mark.parametrize(
    ("way", "phase"),
    [
        *((way, "constructor") for way in ("os_exit", "sigkill", "sigsegv", "sys_exit", "garbage_on_socket")),
        *((way, "import") for way in ("os_exit", "sigabrt", "sys_exit")),
    ],
)
def test_dying_while_loading_is_an_error_of_load(models: Path, tmp_path: Path, way: str, phase: str) -> None:
    flag = tmp_path / "die"
    flag.touch()
    env = Env.current(variables={"ISOPOD_TEST_WAY": way, "ISOPOD_TEST_PHASE": phase, "ISOPOD_TEST_FLAG": str(flag)})
    target = models / "deaths.py:Dying"
    if way == "sys_exit":
        with pytest.raises(ModelError, match=r"'Dying' raised SystemExit while it was loaded from .*:Dying: 7"):
            isopod.load(target, env=env)
    else:
        with pytest.raises(WorkerCrashed, match=f"died while loading the model: .*{WAYS[way][0]}") as caught:
            isopod.load(target, env=env)
        assert isinstance(caught.value.report, CrashReport)
        assert caught.value.report.phase == "loading"
        assert f"about to die by {way}" in caught.value.report.stderr
    with isopod.load(target, env=env) as model:
        assert model(x=1)["y"] == 2


def test_a_load_that_hangs_ends_at_its_deadline(models: Path, tmp_path: Path) -> None:
    flag = tmp_path / "die"
    flag.touch()
    variables = {"ISOPOD_TEST_WAY": "endless", "ISOPOD_TEST_PHASE": "constructor", "ISOPOD_TEST_FLAG": str(flag)}
    env = Env.current(variables=variables)
    with pytest.raises(WorkerTimeout, match=r"'Dying' .*within .* 1\.5 s|'Dying'.*1\.5 s") as caught:
        isopod.load(models / "deaths.py:Dying", env=env, load_timeout=1.5)
    assert "in_constructor" in str(caught.value)
    with isopod.load(models / "deaths.py:Dying", env=env) as model:
        assert model(x=1)["y"] == 2


@pytest.mark.parametrize("way", ["os_exit", "sigsegv", "endless"])
def test_dying_while_closing_is_the_end_all_the_same(models: Path, way: str) -> None:
    env = Env.current(variables={"ISOPOD_TEST_WAY": way, "ISOPOD_TEST_PHASE": "close"})
    model = isopod.load(models / "deaths.py:Dying", env=env)
    process = psutil.Process(model(x=1)["pid"])
    model.close(timeout=0.3)
    assert not process.is_running()
    assert model.health.state == "closed"
    with isopod.load(models / "deaths.py:Dying") as again:
        assert again(x=1)["y"] == 2


@pytest.mark.parametrize("way", ["os_exit", "sigkill", "sigsegv", "garbage_on_socket"])
def test_dying_while_idle_is_seen_at_once_and_the_next_call_does_not_notice(
    models: Path, tmp_path: Path, way: str
) -> None:
    variables = {"ISOPOD_TEST_WAY": way, "ISOPOD_TEST_PHASE": "idle", "ISOPOD_TEST_FLAG": str(tmp_path / "die")}
    with isopod.load(models / "deaths.py:Dying", env=Env.current(variables=variables)) as model:
        before = model(way="idle")["pid"]
        (tmp_path / "die").touch()
        until = time.monotonic() + GUARD
        while model.health.last_crash is None and time.monotonic() < until:
            os.sched_yield()
        assert "died while idle" in str(model.health.last_crash)
        (tmp_path / "die").unlink()
        assert model(x=1)["pid"] != before


def test_a_worker_that_cannot_start_again_says_why(models: Path, tmp_path: Path) -> None:
    flag = tmp_path / "die"
    variables = {"ISOPOD_TEST_WAY": "os_exit", "ISOPOD_TEST_PHASE": "constructor", "ISOPOD_TEST_FLAG": str(flag)}
    with isopod.load(models / "deaths.py:Dying", env=Env.current(variables=variables)) as model:
        with pytest.raises(WorkerCrashed):
            model(way="sigkill")
        flag.touch()
        with pytest.raises(WorkerUnavailable, match=r"no new worker could be started: .*exited with code 3") as caught:
            model(x=1)
        assert isinstance(caught.value.__cause__, WorkerCrashed)
        assert model(x=1)["y"] == 2


def test_a_call_with_a_deadline_that_nobody_waits_for_still_frees_the_worker(dying: isopod.Model) -> None:
    """A task is cancelled, and its call hangs: at its deadline the worker is ended, or it would hang for ever."""

    async def cancelled() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(dying.acall(way="endless", timeout=0.5), 0.1)

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
        until = time.monotonic() + GUARD
        while model.health.ready and time.monotonic() < until:
            os.sched_yield()
        answers.close()  # type: ignore[attr-defined]
        assert model(x=1)["y"] == 2
    del answers
    gc.collect()


def test_inputs_and_outputs_survive_a_death(dying: isopod.Model) -> None:
    array = dying.empty("x", 100, np.float64)
    array[:] = 1.5
    out = dying(x=array)["y"]
    sync(dying, "sigkill")
    assert array.tolist() == [1.5] * 100
    assert out.tolist() == [3.0] * 100
    assert dying(x=array)["y"].tolist() == out.tolist()
