"""Deadlines: a model that looks may stop by itself in its grace, any other is killed, no call is left behind."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from waits import GUARD, until
from worker.cancellation.sampling import sampler

import isopod
from isopod import ModelError, SpecError, WorkerCrashed, WorkerTimeout


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
        until(lambda: bool(flight.sent))
        behind.append(model.submit(x=1))

    other = threading.Thread(target=send_another)
    other.start()
    try:
        return sync(model, **inputs)
    finally:
        other.join()
        behind[0].exception(GUARD)


every_caller = pytest.mark.parametrize("caller", [sync, future, task, mapped, follower])


@every_caller
@pytest.mark.parametrize("do", ["until_cancelled", "until_due"])
def test_a_model_that_looks_stops_by_itself_and_its_worker_goes_on(
    model: isopod.Model, caller: Callable[..., Any], do: str
) -> None:
    with pytest.raises(
        WorkerTimeout, match=r"'Sampler'.*deadline of 0\.3 s; the model stopped \d+\.\d+ s after it.*goes on"
    ) as caught:
        caller(model, do=do, timeout=0.3)
    assert caught.value.report is None
    assert caught.value.__cause__ is None


@every_caller
def test_one_that_raises_has_stopped_too_and_what_it_raised_is_the_cause(
    model: isopod.Model, caller: Callable[..., Any]
) -> None:
    with pytest.raises(WorkerTimeout, match=r"stopped .* after it") as caught:
        caller(model, do="raise_when_cancelled", timeout=0.3)
    assert isinstance(caught.value.__cause__, ModelError)
    assert caught.value.__cause__.remote_message == "stopped in step 17"


@every_caller
def test_one_that_never_looks_is_killed_at_its_deadline(caller: Callable[..., Any]) -> None:
    with sampler() as model:  # with a grace that would be the end of this test
        with pytest.raises(WorkerTimeout, match=r"deadline of 0\.3 s, so its worker was ended") as caught:
            caller(model, do="hang", timeout=0.3)
        assert "do_hang" in str(caught.value)
        assert "its grace" not in str(caught.value)
        assert model(x=1)["x"] == 2


@every_caller
def test_one_that_looks_and_goes_on_is_killed_when_its_grace_is_over(caller: Callable[..., Any]) -> None:
    with sampler(grace=0.2) as model:
        began = time.monotonic()
        with pytest.raises(WorkerTimeout, match=r"passed its deadline of 0\.3 s and its grace of 0\.2 s") as caught:
            caller(model, do="look_and_go_on", timeout=0.3)
        assert time.monotonic() - began >= 0.5
        assert "do_look_and_go_on" in str(caught.value)
        assert isinstance(caught.value.report, isopod.CrashReport)
        assert model(x=1)["x"] == 2


def test_without_grace_looking_does_not_help() -> None:
    with sampler(grace=0) as model:
        with pytest.raises(WorkerTimeout, match="its worker was ended"):
            model(do="look_and_go_on", timeout=0.3)
        assert model(x=1)["x"] == 2


def test_dying_in_the_grace_is_a_crash() -> None:
    with sampler() as model:
        with pytest.raises(WorkerCrashed, match="exited with code 3"):
            model(do="exit_when_cancelled", timeout=0.3)
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


def test_one_in_line_grants_the_grace_of_one_that_nobody_waits_for() -> None:
    """The next call of a ``map`` whose consumer is elsewhere: it is ended all the same when its grace is over."""
    with sampler(grace=2.0) as model:
        answers = model.map([{"x": 0}, {"do": "look_and_go_on"}, {"x": 1}], timeout=1.0, ahead=1)
        next(answers)
        with pytest.raises(WorkerTimeout, match="waiting in line"):
            model(x=1, timeout=1.5)
        until(lambda: not model.health.ready)
        with pytest.raises(WorkerTimeout, match=r"deadline of 1 s and its grace of 2 s"):
            next(answers)
        assert model(x=1)["x"] == 2


def test_answers_that_were_in_time_count_however_late_they_are_looked_at(model: isopod.Model) -> None:
    answers = model.map([{"x": number} for number in range(3)], timeout=1.0, ahead=2)
    assert next(answers)["x"] == 0
    model()  # which is behind the others
    past = time.monotonic() + 1.05
    until(lambda: time.monotonic() > past)
    assert [answer["x"] for answer in answers] == [2, 4]


def test_a_model_is_told_its_deadline(model: isopod.Model) -> None:
    assert dict(model(do="tell")) == {"cancelled": False, "left": None}
    told = model(do="tell", timeout=100)
    assert told["cancelled"] is False
    assert 50 < told["left"] <= 100


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), "soon"])
def test_a_timeout_is_more_than_nothing(model: isopod.Model, timeout: Any) -> None:
    for call in (model, model.submit, lambda **inputs: asyncio.run(model.acall(**inputs))):
        with pytest.raises(SpecError, match="timeout is a number of seconds, more than 0, not"):
            call(x=1, timeout=timeout)
    for option in ("timeout", "load_timeout"):
        with pytest.raises(SpecError, match=f"'Sampler': {option} is a number of seconds, more than 0"):
            sampler(**{option: timeout})
    with pytest.raises(SpecError, match="more than 0"):
        list(model.map([{"x": 1}], timeout=timeout))


def test_a_grace_is_not_negative_and_for_ever_is_welcome(model: isopod.Model) -> None:
    with pytest.raises(SpecError, match="grace is a number of seconds, 0 or more, not -1"):
        sampler(grace=-1)
    forever = float("inf")
    with sampler(grace=forever, timeout=forever, load_timeout=forever) as patient:
        assert patient(do="tell")["left"] is None
    assert model(x=1, timeout=forever)["x"] == 2


def test_in_the_application_nobody_cancels_anything() -> None:
    from isopod import worker

    assert worker.cancelled() is False
    assert worker.deadline() is None


def test_threads_of_the_model_may_ask_and_outside_of_a_call_nothing_is_wanted(model: isopod.Model) -> None:
    assert model(do="ask_in_a_thread", timeout=GUARD)["seen"] == [False, True]
    model(do="let_the_thread_go", timeout=GUARD)
    until(lambda: not model(do="what_the_thread_saw")["alive"])
    assert model(do="what_the_thread_saw")["seen"] == [[False, True], [False, False]]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_process_that_the_model_forked_sees_it_too(model: isopod.Model, tmp_path: Path) -> None:
    asked = model.submit(do="ask_in_a_fork", begun=str(tmp_path / "begun"))
    until((tmp_path / "begun").exists)
    assert not asked.cancel()
    assert asked.result(GUARD)["said"] == b"cancelled"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_look_in_a_fork_is_no_look_of_the_worker() -> None:
    """The worker itself hangs, waiting for what it forked: it is killed at its deadline, and that with it."""
    with sampler() as model:
        with pytest.raises(WorkerTimeout, match="its worker was ended") as caught:
            model(do="hang_while_a_fork_looks", timeout=0.3)
        assert "its grace" not in str(caught.value)
        assert model(x=1)["x"] == 2
