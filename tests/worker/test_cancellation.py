"""Deadlines and cancellation: a model that looks may stop by itself, any other is killed, no call is left behind."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import isopod
from isopod import ModelError, SpecError, WorkerCrashed, WorkerTimeout

GUARD = 60.0  # seconds: a hang guard, never waited for
LONG = 60.0  # seconds of grace in which a test's model stops for certain


def sampler(models: Path, **options: Any) -> isopod.Model:
    return isopod.load(models / "cancelling.py:Sampler", **{"grace": LONG, **options})


@pytest.fixture(scope="module")
def shared(_supervisor_at_rest: None, models: Path) -> Iterator[isopod.Model]:
    """One worker for the tests that must leave it alive; what grows with use is grown before their census."""
    with sampler(models) as model:
        model.submit(x=model.empty("x", 16 << 20, "uint8")).result(GUARD)
        wait_until(lambda: model.stats().shared_bytes_used == 0)
        yield model


@pytest.fixture
def model(shared: isopod.Model) -> Iterator[isopod.Model]:
    """The shared worker: it is the same one afterwards, answers, and holds no memory."""
    before = shared()["pid"]
    yield shared
    assert shared()["pid"] == before
    wait_until(lambda: shared.stats().shared_bytes_used == 0)


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + GUARD
    while not holds():
        assert time.monotonic() < until
        os.sched_yield()


# way of calling → what it raises
def sync(model: isopod.Model, **inputs: Any) -> Any:
    return model(inputs, timeout=inputs.pop("timeout", None))


def future(model: isopod.Model, **inputs: Any) -> Any:
    return model.submit(inputs, timeout=inputs.pop("timeout", None)).result(GUARD)


def task(model: isopod.Model, **inputs: Any) -> Any:
    return asyncio.run(model.acall(inputs, timeout=inputs.pop("timeout", None)))


def mapped(model: isopod.Model, **inputs: Any) -> Any:
    timeout = inputs.pop("timeout", None)
    return list(model.map([inputs, {"x": 1}], timeout=timeout, ahead=1))


def follower(model: isopod.Model, **inputs: Any) -> Any:
    """Somebody else leads while the call runs: the dispatcher, which waits for one behind it."""
    behind: list[Future[Any]] = []

    def send_another() -> None:
        flight = model._deployment.running().flight  # type: ignore[union-attr]
        wait_until(lambda: bool(flight.sent))
        behind.append(model.submit(x=1))

    other = threading.Thread(target=send_another)
    other.start()
    try:
        return sync(model, **inputs)
    finally:
        other.join()
        behind[0].exception(GUARD)


every_caller = pytest.mark.parametrize("caller", [sync, future, task, mapped, follower])


# ---------------------------------------------------------------------- deadlines


@every_caller
@pytest.mark.parametrize("do", ["until_cancelled", "until_due"])
def test_a_model_that_looks_stops_by_itself_and_its_worker_goes_on(
    model: isopod.Model, caller: Callable[..., Any], do: str
) -> None:
    with pytest.raises(
        WorkerTimeout, match=r"'Sampler'.*deadline of 0\.1 s; the model stopped \d+\.\d+ s after it.*goes on"
    ) as caught:
        caller(model, do=do, timeout=0.1)
    assert caught.value.report is None
    assert caught.value.__cause__ is None


@every_caller
def test_one_that_raises_has_stopped_too_and_what_it_raised_is_the_cause(
    model: isopod.Model, caller: Callable[..., Any]
) -> None:
    with pytest.raises(WorkerTimeout, match=r"stopped .* after it") as caught:
        caller(model, do="raise_when_cancelled", timeout=0.1)
    assert isinstance(caught.value.__cause__, ModelError)
    assert caught.value.__cause__.remote_message == "stopped in step 17"


@every_caller
def test_one_that_never_looks_is_killed_at_its_deadline(models: Path, caller: Callable[..., Any]) -> None:
    with sampler(models) as model:  # with a grace that would be the end of this test
        with pytest.raises(WorkerTimeout, match=r"deadline of 0\.1 s, so its worker was ended") as caught:
            caller(model, do="hang", timeout=0.1)
        assert "do_hang" in str(caught.value)
        assert "its grace" not in str(caught.value)
        assert model(x=1)["x"] == 2


@every_caller
def test_one_that_looks_and_goes_on_is_killed_when_its_grace_is_over(models: Path, caller: Callable[..., Any]) -> None:
    with sampler(models, grace=0.2) as model:
        began = time.monotonic()
        with pytest.raises(WorkerTimeout, match=r"passed its deadline of 0\.1 s and its grace of 0\.2 s") as caught:
            caller(model, do="look_and_go_on", timeout=0.1)
        assert time.monotonic() - began >= 0.3
        assert "do_look_and_go_on" in str(caught.value)
        assert isinstance(caught.value.report, isopod.CrashReport)
        assert model(x=1)["x"] == 2


def test_without_grace_looking_does_not_help(models: Path) -> None:
    with sampler(models, grace=0) as model:
        with pytest.raises(WorkerTimeout, match="its worker was ended"):
            model(do="look_and_go_on", timeout=0.1)
        assert model(x=1)["x"] == 2


def test_dying_in_the_grace_is_a_crash(models: Path) -> None:
    with sampler(models) as model:
        with pytest.raises(WorkerCrashed, match="exited with code 3"):
            model(do="exit_when_cancelled", timeout=0.1)
        assert model(x=1)["x"] == 2


def test_others_are_answered_after_a_grace(model: isopod.Model) -> None:
    """Those in line without a deadline wait; one with a deadline is told, and does not end the one that runs."""
    stops = model.submit(do="until_cancelled", timeout=0.3)
    behind = [model.submit(x=number) for number in range(5)]
    impatient = model.submit(x=1, timeout=0.01)
    assert isinstance(impatient.exception(GUARD), WorkerTimeout)
    with pytest.raises(WorkerTimeout, match=r"stopped .* after it"):
        stops.result(GUARD)
    assert [other.result(GUARD)["x"] for other in behind] == [0, 2, 4, 6, 8]


def test_one_in_line_grants_the_grace_of_one_that_nobody_waits_for(models: Path) -> None:
    """The next call of a ``map`` whose consumer is elsewhere: it is ended all the same when its grace is over."""
    with sampler(models, grace=1.5) as model:
        answers = model.map([{"x": 0}, {"do": "look_and_go_on"}, {"x": 1}], timeout=0.3, ahead=1)
        next(answers)
        with pytest.raises(WorkerTimeout, match="waiting in line"):
            model(x=1, timeout=0.6)
        wait_until(lambda: not model.health.ready)
        with pytest.raises(WorkerTimeout, match=r"deadline of 0\.3 s and its grace of 1\.5 s"):
            next(answers)
        assert model(x=1)["x"] == 2


def test_answers_that_were_in_time_count_however_late_they_are_looked_at(model: isopod.Model) -> None:
    answers = model.map([{"x": number} for number in range(3)], timeout=0.2, ahead=2)
    assert next(answers)["x"] == 0
    model()  # which is behind the others
    past = time.monotonic() + 0.25
    wait_until(lambda: time.monotonic() > past)
    assert [answer["x"] for answer in answers] == [2, 4]


def test_a_model_is_told_its_deadline(model: isopod.Model) -> None:
    assert dict(model(do="tell")) == {"cancelled": False, "left": None}
    told = model(do="tell", timeout=100)
    assert told["cancelled"] is False
    assert 50 < told["left"] <= 100


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), "soon"])
def test_a_timeout_is_more_than_nothing(model: isopod.Model, models: Path, timeout: Any) -> None:
    for call in (model, model.submit, lambda **inputs: asyncio.run(model.acall(**inputs))):
        with pytest.raises(SpecError, match="timeout is a number of seconds, more than 0, not"):
            call(x=1, timeout=timeout)
    for option in ("timeout", "load_timeout"):
        with pytest.raises(SpecError, match=f"'Sampler': {option} is a number of seconds, more than 0"):
            sampler(models, **{option: timeout})
    with pytest.raises(SpecError, match="more than 0"):
        list(model.map([{"x": 1}], timeout=timeout))


def test_a_grace_is_not_negative_and_for_ever_is_welcome(models: Path, model: isopod.Model) -> None:
    with pytest.raises(SpecError, match="grace is a number of seconds, 0 or more, not -1"):
        sampler(models, grace=-1)
    forever = float("inf")
    with sampler(models, grace=forever, timeout=forever, load_timeout=forever) as patient:
        assert patient(do="tell")["left"] is None
    assert model(x=1, timeout=forever)["x"] == 2


# ---------------------------------------------------------------------- what a model may ask


def test_in_the_application_nobody_cancels_anything() -> None:
    from isopod import worker

    assert worker.cancelled() is False
    assert worker.deadline() is None


def test_threads_of_the_model_may_ask_and_outside_of_a_call_nothing_is_wanted(model: isopod.Model) -> None:
    assert model(do="ask_in_a_thread", timeout=GUARD)["seen"] == [False, True]
    model(do="let_the_thread_go", timeout=GUARD)
    wait_until(lambda: not model(do="what_the_thread_saw")["alive"])
    assert model(do="what_the_thread_saw")["seen"] == [[False, True], [False, False]]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_process_that_the_model_forked_sees_it_too(model: isopod.Model, tmp_path: Path) -> None:
    asked = model.submit(do="ask_in_a_fork", begun=str(tmp_path / "begun"))
    wait_until((tmp_path / "begun").exists)
    assert not asked.cancel()
    assert asked.result(GUARD)["said"] == b"cancelled"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_look_in_a_fork_is_no_look_of_the_worker(models: Path) -> None:
    """The worker itself hangs, waiting for what it forked: it is killed at its deadline, and that with it."""
    with sampler(models) as model:
        with pytest.raises(WorkerTimeout, match="its worker was ended") as caught:
            model(do="hang_while_a_fork_looks", timeout=0.3)
        assert "its grace" not in str(caught.value)
        assert model(x=1)["x"] == 2


# ---------------------------------------------------------------------- futures


@contextlib.contextmanager
def busy(model: isopod.Model, folder: Path) -> Iterator[Future[Any]]:
    """A call that runs until the block ends."""
    begun, until = folder / "begun", folder / "until"
    slow = model.submit(do="wait", begun=str(begun), until=str(until))
    wait_until(begun.exists)
    yield slow
    until.touch()
    slow.result(GUARD)


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
    wait_until(lambda: model.stats().shared_bytes_used == 0)


def test_a_running_call_is_not_cancelled_but_the_model_can_stop(model: isopod.Model, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    running = model.submit(do="until_cancelled", begun=str(begun), x=7)
    wait_until(begun.exists)
    assert running.running()
    assert running.cancel() is False
    assert not running.cancelled()
    assert running.result(GUARD)["x"] == 7
    assert not running.running()
    assert running.cancel() is False
    begun.unlink()
    raising = model.submit(do="raise_when_cancelled", begun=str(begun))
    wait_until(begun.exists)
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


def test_cancelling_a_call_of_a_dead_worker_ends_it_once(models: Path, tmp_path: Path) -> None:
    with sampler(models) as model:
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


def test_race_late_cancel(models: Path, tmp_path: Path) -> None:
    """Its worker died before it began it, and whoever is to give it to another one is held up: it is taken back yet."""
    entered, hold = threading.Event(), threading.Event()

    def hold_up(_: Future[Any]) -> None:
        entered.set()
        assert hold.wait(GUARD)

    with sampler(models) as model:
        try:
            (tmp_path / "first").mkdir()
            with busy(model, tmp_path / "first"):
                model.submit(x=0).add_done_callback(hold_up)
            assert entered.wait(GUARD)
            begun = tmp_path / "begun"
            running = model.submit(do="wait", begun=str(begun), until=str(tmp_path / "never"))
            wait_until(begun.exists)
            queue = [model.submit(x=np.full(1000, number)) for number in range(10)]
            sent = [one._sent[0] for one in queue]  # type: ignore[attr-defined]
            os.kill(model.health.pid or 0, signal.SIGKILL)
            wait_until(lambda: all(call.done for call in sent))
            assert running.cancel() is False
            assert all(one.cancel() and one.cancelled() for one in queue)
        finally:
            hold.set()
        assert isinstance(running.exception(GUARD), WorkerCrashed)
        assert model()["calls"] == 1
        wait_until(lambda: model.stats().shared_bytes_used == 0)


def test_race_marked_as_it_began(model: isopod.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It began just when it was marked: ``cancel`` is False, so it runs, though its worker saw the mark."""
    calls = model()["calls"]
    with busy(model, tmp_path):
        with monkeypatch.context() as patch:
            patch.setattr(model._deployment.running(), "has_begun", lambda _: True)
            late = model.submit(x=21)
            assert late.cancel() is False
        assert not late.done()
    assert late.result(GUARD)["x"] == 42
    assert model()["calls"] == calls + 3


def test_race_undecided_mark(model: isopod.Model, tmp_path: Path) -> None:
    """Ctrl-C came before it was said whether a marked call runs: it does not, and its future is cancelled."""
    calls = model()["calls"]
    with busy(model, tmp_path):
        session = model._deployment.running()
        assert session is not None
        left = model.submit(x=1)
        with session.flight.lock:
            sent = next(reversed(session.flight.sent.values()))
            sent.marked = True
            session._mail.cancellations.mark(sent.number, sent.id)
    assert concurrent.futures.wait([left], GUARD).not_done == set()
    with pytest.raises(CancelledError):
        left.result(GUARD)
    assert left.cancelled()
    assert model()["calls"] == calls + 2


def test_race_stuck_in_line(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is due, and began before anybody heard that those before it have ended: it is not told that it waits."""
    with sampler(models) as model:
        begun = tmp_path / "begun"
        slow = model.submit(do="wait", begun=str(begun), until=str(tmp_path / "never"))
        wait_until(begun.exists)
        with monkeypatch.context() as patch:
            patch.setattr(model._deployment.running(), "has_begun", lambda _: True)
            with pytest.raises(WorkerTimeout, match="its worker was ended"):
                model(x=1, timeout=0.1)
        assert isinstance(slow.exception(GUARD), WorkerCrashed)
        assert model(x=1)["x"] == 2


def test_a_worker_that_refuses_what_nobody_cancelled_is_ended(models: Path) -> None:
    with sampler(models) as model:
        model(do="refuse_the_next")
        with pytest.raises(WorkerCrashed, match=r"broke the data protocol: it refused call \d+, which was wanted"):
            model(x=1)
        assert model(x=1)["x"] == 2


# ---------------------------------------------------------------------- tasks


async def cancelled_when(holds: Callable[[], bool], task: asyncio.Task[Any]) -> None:
    until = time.monotonic() + GUARD
    while not holds():
        assert time.monotonic() < until
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_cancelled_task_takes_its_call_back(model: isopod.Model, tmp_path: Path) -> None:
    calls = model()["calls"]

    async def cancel() -> None:
        tasks = [asyncio.create_task(model.acall(x=number)) for number in range(100)]
        await asyncio.sleep(0)
        for one in tasks:
            await cancelled_when(lambda: True, one)

    with busy(model, tmp_path):
        asyncio.run(cancel())
    assert model()["calls"] == calls + 2


def test_a_cancelled_task_tells_a_model_that_runs(model: isopod.Model, tmp_path: Path) -> None:
    async def cancel() -> None:
        begun = tmp_path / "begun"
        running = asyncio.create_task(model.acall(do="until_cancelled", begun=str(begun), x=np.zeros(1000)))
        await cancelled_when(begun.exists, running)
        assert (await model.acall(x=4))["x"] == 8

    asyncio.run(cancel())


def test_a_task_that_is_cancelled_with_its_answer_there_keeps_no_memory(model: isopod.Model) -> None:
    async def cancel() -> Any:
        counted = model._deployment.counters
        before = counted.calls
        late = asyncio.create_task(model.acall(x=np.zeros(100_000)))
        await asyncio.sleep(0)
        wait_until(lambda: counted.calls > before)  # without letting the loop hear of it
        late.cancel()
        return await asyncio.gather(late, return_exceptions=True)

    (error,) = asyncio.run(cancel())
    assert isinstance(error, asyncio.CancelledError)
    wait_until(lambda: model.stats().shared_bytes_used == 0)


def test_a_timeout_of_asyncio_is_one(model: isopod.Model, tmp_path: Path) -> None:
    async def late() -> None:
        if hasattr(asyncio, "timeout"):
            async with asyncio.timeout(0.05):
                await model.acall(do="until_cancelled", x=1)
        else:
            await asyncio.wait_for(model.acall(do="until_cancelled", x=1), 0.05)

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(late())


def test_race_unsent(model: isopod.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task is cancelled while its call waits for shared memory, in a thread: it is never sent."""
    calls, session = model()["calls"], model._deployment.running()
    assert session is not None
    begin, waits, room = session.begin, threading.Event(), threading.Event()

    def begin_when_there_is_room(call: Any, items: Any, arena_deadline_ns: int) -> None:
        if not arena_deadline_ns:
            raise isopod.ArenaFull
        waits.set()
        assert room.wait(GUARD)
        begin(call, items, arena_deadline_ns)

    async def cancel() -> None:
        waiting = asyncio.create_task(model.acall(x=np.zeros(1000)))
        await cancelled_when(waits.is_set, waiting)
        room.set()

    with monkeypatch.context() as patch:
        patch.setattr(session, "begin", begin_when_there_is_room)
        asyncio.run(cancel())
    assert model()["calls"] == calls + 1


# ---------------------------------------------------------------------- Ctrl-C, and leaving early


def interrupt_when(holds: Callable[[], bool]) -> threading.Thread:
    def interrupt() -> None:
        wait_until(holds)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    return thread


def test_an_interrupt_tells_a_model_that_runs(model: isopod.Model, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    other = interrupt_when(begun.exists)
    with pytest.raises(KeyboardInterrupt):
        model(do="until_cancelled", begun=str(begun), x=np.zeros(1000))
    other.join()


def test_an_interrupt_takes_back_a_call_in_line(model: isopod.Model, tmp_path: Path) -> None:
    calls = model()["calls"]
    with busy(model, tmp_path):
        session = model._deployment.running()
        assert session is not None
        other = interrupt_when(lambda: len(session.flight.sent) == 2)
        with pytest.raises(KeyboardInterrupt):
            model(x=1)
        other.join()
    assert model()["calls"] == calls + 2


def test_an_interrupt_in_a_map_takes_back_all_of_it(model: isopod.Model, tmp_path: Path) -> None:
    calls = model()["calls"]
    with busy(model, tmp_path):
        session = model._deployment.running()
        assert session is not None
        other = interrupt_when(lambda: len(session.flight.sent) == 6)
        with pytest.raises(KeyboardInterrupt):
            list(model.map([{"x": number} for number in range(100)], ahead=4))
        other.join()
    assert model()["calls"] == calls + 2


def test_a_map_that_is_left_early_takes_back_what_has_not_begun(model: isopod.Model, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    batches: list[dict[str, Any]] = [
        {"x": 1},
        {"do": "until_cancelled", "begun": str(begun)},
        *({"x": number} for number in range(50)),
    ]
    calls = model()["calls"]
    answers = model.map(batches, ahead=40)
    assert next(answers)["x"] == 2
    wait_until(begun.exists)
    answers.close()  # type: ignore[attr-defined]
    assert model()["calls"] == calls + 3


# ---------------------------------------------------------------------- everything at once


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
    wait_until(lambda: len(ended) == 450)
    assert set(ended.values()) == {1}
    assert model()["calls"] == calls + 450 - len(cancelled) + 1  # what was cancelled did not run
    assert 0 < len(cancelled) < 450
