"""Fleets: replicas, spares, the circuit, versions, wear. No call is lost, none is seen too often."""

from __future__ import annotations

import functools
import os
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
from callers import call, task
from waits import GUARD, until
from worker.fleets import UNBOUNDED, Seen, states

import isopod
from isopod import ModelError, Overloaded, Restart, SpecError, WorkerCrashed, WorkerUnavailable

# ---------------------------------------------------------------------- replicas


def test_calls_go_to_the_worker_with_the_fewest(member: str, tmp_path: Path) -> None:
    with isopod.load(member, workers=3) as model:
        assert states(model) == ["ready"] * 3
        assert [worker.replica for worker in model.health.workers] == [0, 1, 2]
        futures = [model.submit(x=number, until=str(tmp_path / "go")) for number in range(6)]
        (tmp_path / "go").touch()
        pids = [future.result(GUARD)["pid"] for future in futures]
        assert sorted(pids[:3]) == sorted(worker.pid for worker in model.health.workers)
        assert sorted(pids[3:]) == sorted(pids[:3])
        assert sum(worker.calls for worker in model.health.workers) == 6


def test_a_map_over_several_workers_is_in_order(member: str) -> None:
    with isopod.load(member, workers=2) as model:
        outs = list(model.map(({"x": number} for number in range(200)), ahead=8))
        assert [out["x"] for out in outs] == list(range(200))
        assert len({out["pid"] for out in outs}) == 2


def test_one_dies_and_the_others_go_on(member: str, seen: Seen) -> None:
    with isopod.load(member, workers=2, restart=UNBOUNDED) as model:
        before = {worker.pid for worker in model.health.workers}
        path, _ = seen()
        with pytest.raises(WorkerCrashed) as caught:
            model(seen=path, deadly=1)
        died = caught.value.report.pid  # type: ignore[attr-defined]
        assert model.health.ready
        assert {model(x=1)["pid"] for _ in range(5)} <= before - {died} | {
            worker.pid for worker in model.health.workers
        }
        until(lambda: states(model) == ["ready"] * 2)
        assert model.health.restarts == 1
        assert died not in {worker.pid for worker in model.health.workers}


@pytest.mark.parametrize(
    "wrong",
    [{"workers": 0}, {"standby": -1}, {"retries": -1}, {"max_waiting": 0}, {"max_calls": 0}, {"max_rss": 0},
     {"max_age": -1.0}, {"max_age": float("nan")}, {"cpus": "4095"}, {"threads": 0}],
    ids=repr,
)  # fmt: skip
def test_what_cannot_be_asked_for(member: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="'Member'"):
        isopod.load(member, **wrong)


def test_one_that_cannot_load_fails_them_all_and_nothing_is_left(member: str, tmp_path: Path) -> None:
    (tmp_path / "flag").touch()
    with pytest.raises(ModelError, match="this version does not load"):
        isopod.load(member, args={"flag": str(tmp_path / "flag")}, workers=3, standby=1)


# ---------------------------------------------------------------------- spares


def test_a_spare_takes_over_the_moment_that_a_worker_dies(member: str, seen: Seen) -> None:
    with isopod.load(member, standby=1, restart=UNBOUNDED) as model:
        for _ in range(3):
            until(lambda: states(model) == ["ready"] * 2)
            active = model(x=1)["pid"]
            (spare,) = {worker.pid for worker in model.health.workers} - {active}
            with pytest.raises(WorkerCrashed):
                model(seen=seen()[0], deadly=1)
            assert model.health.ready  # by the time that the caller knows
            assert model(x=1)["pid"] == spare


def test_calls_go_to_the_spare_before_another_process_is_started(
    member: str, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isopod.runtime.fleet._CALLS_FIRST", 3600.0)
    with isopod.load(member, standby=1, restart=UNBOUNDED) as model:
        with pytest.raises(WorkerCrashed):
            model(seen=seen()[0], deadly=1)
        spare = model(x=1)["pid"]
        assert [worker.pid for worker in model.health.workers] == [spare]
        with pytest.raises(WorkerCrashed):
            model(seen=seen()[0], deadly=1)
        assert model(x=1)["pid"] != spare  # without a spare, nothing is waited for


# ---------------------------------------------------------------------- the circuit


def test_a_model_that_goes_on_dying_is_left_alone_for_a_while_and_comes_back(models: Path, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    restart = Restart(max_restarts=2, backoff=0.01, cooldown=0.2)
    with isopod.load(models / "fleets.py:Barren", args={"flag": str(flag)}, restart=restart) as model:
        flag.touch()
        with pytest.raises(WorkerCrashed):
            model(dies=True)
        until(lambda: model.health.state == "broken")
        assert "workers died within 30 s, the last: " in model.health.reason
        assert not isopod.health()["Barren"].ready
        with pytest.raises(WorkerUnavailable, match=r"takes no calls for now: \d of its workers died"):
            _call_while_a_probe_fails(model)
        flag.unlink()
        until(lambda: model.health.ready)
        assert model.health.reason == ""
        assert model()["pid"] == model.health.pid
        assert isopod.health()["Barren"].ready


def _call_while_a_probe_fails(model: isopod.Model) -> None:
    while True:
        try:
            model()
        except WorkerUnavailable as error:
            if "could be started" not in str(error):
                raise


def test_those_that_live_are_called_while_the_circuit_is_open(member: str, seen: Seen) -> None:
    with isopod.load(member, workers=2, restart=Restart(max_restarts=0, cooldown=3600)) as model:
        with pytest.raises(WorkerCrashed):
            model(seen=seen()[0], deadly=1)
        assert [model(x=number)["x"] for number in range(20)] == list(range(20))
        assert model.health.ready
        assert states(model) == ["ready"]


# ---------------------------------------------------------------------- new versions


def test_a_new_version_takes_over_without_losing_a_call(member: str) -> None:
    with isopod.load(member, workers=2, standby=1, args={"version": 1}) as model:
        done = threading.Event()
        versions: list[list[int]] = [[] for _ in range(3)]
        failures: list[Exception] = []

        def work(mine: list[int]) -> None:
            while not done.is_set():
                try:
                    mine.append(model(x=1)["version"])
                except isopod.IsopodError as error:
                    failures.append(error)

        workers = [threading.Thread(target=work, args=(mine,)) for mine in versions]
        for worker in workers:
            worker.start()
        array = model.empty("x", 1000)
        for version in (2, 3):
            model.reload(args={"version": version})
            assert model(x=array)["version"] == version
        done.set()
        for worker in workers:
            worker.join(GUARD)
        assert failures == []
        assert all(mine == sorted(mine) for mine in versions)
        assert states(model) == ["ready"] * 3


def test_a_version_that_does_not_load_changes_nothing(member: str, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    with isopod.load(member, args={"flag": str(flag)}) as model:
        pid = model(x=1)["pid"]
        flag.touch()
        with pytest.raises(ModelError, match="does not load"):
            model.reload()
        with pytest.raises(SpecError, match="no file"):
            model.reload("nowhere.py:Member")
        assert model(x=1)["pid"] == pid
        flag.unlink()
        model.reload()
        assert model(x=1)["pid"] != pid


def test_the_interface_is_the_new_versions(models: Path, member: str) -> None:
    with isopod.load(models / "basic.py:with_default") as model:
        assert [item.name for item in model.inputs] == ["x", "factor"]
        model.reload(member)
        assert "until" in [item.name for item in model.inputs]
        assert model(x=5)["x"] == 5
        assert [item.name for item in model.outputs][:2] == ["x", "pid"]


def test_what_the_old_version_was_asked_it_answers_for_as_long_as_it_may(member: str, tmp_path: Path) -> None:
    with isopod.load(member) as model:
        patient = model.submit(x=1, until=str(tmp_path / "go"))
        model.reload(args={"version": 2})
        assert model(x=1)["version"] == 2
        (tmp_path / "go").touch()
        assert patient.result(GUARD)["version"] == 1
        stuck = model.submit(x=1, until=str(tmp_path / "never"))
        model.reload(args={"version": 3}, drain=0.2)
        assert isinstance(stuck.exception(GUARD), isopod.Closed)
        assert model(x=1)["version"] == 3


# ---------------------------------------------------------------------- wear


def answered_by(model: isopod.Model, workers: int, **inputs: Any) -> set[int]:
    """Call until so many workers have answered. No call may fail."""
    pids: set[int] = set()
    while len(pids) < workers:
        pids.add(model(x=1, **inputs)["pid"])
    return pids


@pytest.mark.parametrize("standby", [0, 1])
@pytest.mark.parametrize(
    ("limit", "inputs"),
    [({"max_calls": 20}, {}), ({"max_age": 0.3}, {}), ({"max_rss": 200 << 20}, {"leak": 1 << 20})],
    ids=["calls", "age", "memory"],
)
def test_a_worn_worker_is_replaced_between_calls(
    member: str, limit: dict[str, Any], inputs: dict[str, Any], standby: int
) -> None:
    with isopod.load(member, standby=standby, **limit) as model:
        pids = answered_by(model, 3, **inputs)
        assert model.stats().crashes == 0
        assert model.health.last_crash is None
        until(lambda: sum(psutil.pid_exists(pid) for pid in pids) <= 1 + standby)  # the old ones end


# ---------------------------------------------------------------------- limits and places


def test_more_calls_than_may_wait_are_refused_at_once(member: str, tmp_path: Path) -> None:
    with isopod.load(member, max_waiting=3) as model:
        futures = [model.submit(x=number, until=str(tmp_path / "go")) for number in range(3)]
        for caller in (call, lambda model, **inputs: model.submit(**inputs), task):
            with pytest.raises(Overloaded, match="'Member' has 3 calls that wait for their answers"):
                caller(model, x=1)
        (tmp_path / "go").touch()
        assert [future.result(GUARD)["x"] for future in futures] == [0, 1, 2]
        assert model(x=1)["x"] == 1


def test_processors_and_threads_are_set_before_the_model_is_loaded(models: Path) -> None:
    with isopod.load(models / "fleets.py:placed", cpus="0", threads=2) as model:
        assert model()["cpus"] == [0]
        assert model()["omp"] == "2"
    with isopod.load(models / "fleets.py:placed") as model:
        assert model()["cpus"] == sorted(os.sched_getaffinity(0))


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor")
def test_a_spare_moves_to_the_processors_of_the_one_that_died(models: Path) -> None:
    first, second = sorted(os.sched_getaffinity(0))[:2]
    target = models / "fleets.py:placed"
    with isopod.load(target, workers=2, standby=1, cpus=[[first], [second]], restart=UNBOUNDED) as model:
        for _ in range(3):
            until(lambda: states(model) == ["ready"] * 3)
            victim = next(worker for worker in model.health.workers if _cpus(worker.pid) == [second])
            psutil.Process(victim.pid).kill()
            until(functools.partial(_is_gone, model, victim.pid))
            futures = [model.submit() for _ in range(10)]
            assert {tuple(future.result(GUARD)["cpus"]) for future in futures} == {(first,), (second,)}


def _is_gone(model: isopod.Model, pid: int) -> bool:
    return pid not in {worker.pid for worker in model.health.workers}


def _cpus(pid: int) -> list[int]:
    return psutil.Process(pid).cpu_affinity() or []
