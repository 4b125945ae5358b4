"""A strict model leaves one core to others, with all that it starts, and stays off it; or is given all that it asks."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from application import gone

import isopod
from isopod import Sandbox, SandboxUnavailable, WorkerCrashed, WorkerUnavailable
from isopod.runtime import loading, process, starter
from isopod.runtime.placement import all_but_one_core
from isopod.runtime.process import WorkerProcess
from isopod.runtime.sandbox.look import _placed
from isopod.runtime.sandbox.machine import trial

TARGET = f"{Path(__file__).resolve().parent / 'models' / 'inherited.py'}:processors"

# An application that may use one processor.
ALONE = """
import os, sys, isopod
os.sched_setaffinity(0, {int(sys.argv[2])})
with isopod.load(sys.argv[1], sandbox="strict") as model:
    print(model(forks=False)["worker"])
    print(*(one.detail for one in model.sandbox_report().mechanisms if one.name == "processors"))
"""

ALL = frozenset(os.sched_getaffinity(0))
FEWER = sorted(all_but_one_core(ALL))
two = pytest.mark.skipif(len(ALL) < 2, reason="there is one processor, and none can be left to others")


def of(model: isopod.Model) -> list[list[int]]:
    """The processors of each worker, spares too, as seen from here."""
    return [sorted(os.sched_getaffinity(worker.pid or 0)) for worker in model.health.workers]


def of_threads(pid: int) -> set[tuple[int, ...]]:
    """All those of its threads, ours among them."""
    found = set()
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            found.add(tuple(sorted(os.sched_getaffinity(int(task)))))
    return found


def told(model: isopod.Model) -> list[str]:
    mechanisms = [one for one in model.sandbox_report().mechanisms if one.name == "processors"]
    assert all(one.seen_by == "application" for one in mechanisms)
    return [one.detail for one in mechanisms]


@two
def test_a_model_and_its_threads_leave_one_core_to_others() -> None:
    with isopod.load(TARGET, sandbox="strict") as one, isopod.load(TARGET, sandbox="strict", placement="auto") as other:
        for model in (one, other):
            assert dict(model(forks=False)) == {"worker": FEWER, "thread": FEWER}
            assert of_threads(model.health.pid or 0) == {tuple(FEWER)}
            (detail,) = told(model)
            assert detail.startswith(f"{len(FEWER)} of {len(ALL)} processors (cpu ")
            assert detail.endswith(f", {len(ALL) - len(FEWER)} left to others; it cannot change that")
    assert os.sched_getaffinity(0) == ALL


@two
def test_processes_that_it_starts_leave_it_too() -> None:
    box = Sandbox("strict", allow_subprocess=True)
    if not trial(box)[0]:
        pytest.skip("this machine gives no namespace of processes")
    with isopod.load(TARGET, sandbox=box) as model:
        assert dict(model(forks=True)) == {"worker": FEWER, "thread": FEWER, "process": FEWER}


@two
def test_what_is_asked_for_is_had() -> None:
    with isopod.load(TARGET, sandbox="strict", cpus=ALL) as model:
        assert model(forks=False)["worker"] == sorted(ALL)
        (detail,) = told(model)
        assert ", none left to others;" in detail
    with isopod.load(TARGET, sandbox="strict", cpus=[min(ALL)]) as model:
        assert model(forks=False)["worker"] == [min(ALL)]
    with isopod.load(TARGET, sandbox="strict", placement="latency") as model:
        assert set(model(forks=False)["worker"]) < ALL
    with isopod.load(TARGET, sandbox="limits") as model:
        assert model(forks=False)["worker"] == sorted(ALL)


@two
def test_workers_that_differ_are_told_of_apart() -> None:
    """Each leaves one to others, and both together none."""
    first, second = sorted(ALL)[:2]
    with isopod.load(TARGET, sandbox="strict", workers=2, cpus=[[first], [second]]) as model:
        expected = [f"1 of {len(ALL)} processors (cpu {cpu}), {len(ALL) - 1} left" for cpu in (first, second)]
        assert sorted(detail.partition(" to others")[0] for detail in told(model)) == expected


@two
def test_spares_and_those_that_come_later_leave_the_same() -> None:
    with isopod.load(TARGET, sandbox="strict", standby=1) as model:
        assert of(model) == [FEWER, FEWER]
        model.reload()
        assert of(model) == [FEWER, FEWER]
        victim = model.health.pid or 0
        os.kill(victim, signal.SIGKILL)
        gone(victim)
        with contextlib.suppress(WorkerCrashed):  # if its death was not heard of yet
            model(forks=False)
        assert model(forks=False)["worker"] == FEWER


@two
def test_a_model_that_is_timed_has_the_processors_of_its_twin() -> None:
    with isopod.load(TARGET, sandbox="strict") as model, loading.timed(model) as twin:
        assert of(twin) == of(model) == [FEWER]
    with isopod.load(TARGET, sandbox="strict", cpus=ALL) as model, loading.timed(model) as twin:
        assert of(twin) == of(model) == [sorted(ALL)]
        with loading.elsewhere(model, "auto") as other:
            assert of(other) == [FEWER]


@two
def test_a_worker_is_given_what_there_is_when_it_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """The set of processors that this container may use is another one by then."""
    first = min(ALL)
    with monkeypatch.context() as patch:
        patch.setattr(starter, "all_but_one_core", lambda _: frozenset([first]))
        model = isopod.load(TARGET, sandbox="strict")
    with model:
        assert of(model) == [[first]]
        model.reload()
        assert of(model) == [FEWER]
        assert model(forks=False)["worker"] == FEWER


def test_where_there_is_one_processor_it_works_and_the_report_says_that_none_is_left() -> None:
    only = max(ALL)
    done = subprocess.run(
        [sys.executable, "-c", ALONE, TARGET, str(only)], capture_output=True, text=True, check=False
    )  # fmt: skip
    said = f"1 of 1 processors (cpu {only}), none left to others; it cannot change that"
    assert done.stdout.splitlines() == [f"[{only}]", said], done.stderr


@two
def test_one_that_runs_elsewhere_is_ended_before_its_model_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    spawn = process.spawn

    def misplaced(*arguments: Any) -> WorkerProcess:
        made = spawn(*arguments)
        os.sched_setaffinity(made.pid, ALL)
        return made

    with monkeypatch.context() as patch:
        patch.setattr(process, "spawn", misplaced)
        with pytest.raises(SandboxUnavailable, match=r"does not hold: it runs on the processors .*, not on "):
            isopod.load(TARGET, sandbox="strict")
    with isopod.load(TARGET, sandbox="strict") as model:
        assert model(forks=False)["worker"] == FEWER


def test_where_it_cannot_be_moved_it_does_not_run_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter of the container's forbids it."""

    def refuse(pid: int, cpus: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(os, "sched_setaffinity", refuse)
        with pytest.raises(WorkerUnavailable, match=r"it cannot run on the processors .*: Operation not permitted"):
            isopod.load(TARGET, sandbox="strict")
    with isopod.load(TARGET, sandbox="strict") as model:
        assert model(forks=False)["worker"] == FEWER


def test_fewer_than_it_was_given_are_no_fault_and_others_are() -> None:
    """The machine may have taken some away since."""
    assert _placed("model", {0, 2, 3}, {3}, {1, 2, 3}).detail.startswith("1 of 3 processors (cpu 3), 2 left")
    with pytest.raises(SandboxUnavailable, match="it runs on the processors 0,2-3, not on 1-3"):
        _placed("liar", {0, 1, 2, 3}, {0, 2, 3}, {1, 2, 3})
