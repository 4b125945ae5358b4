"""Fleets at the wrong moment: workers that die, load, wear out or are replaced while something else happens to them."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
import types
from pathlib import Path
from typing import Any

import pytest
from callers import in_thread
from waits import GUARD, until

import isopod
from isopod import WorkerCrashed, WorkerTimeout, WorkerUnavailable
from isopod.runtime import deployment, fleet, lifecycle, session, supervisor
from isopod.runtime.process import WorkerProcess

MODELS = Path(__file__).resolve().parent.parent / "models"


# ---------------------------------------------------------------------- starting


@pytest.mark.parametrize("workers", [1, 2])
def test_one_that_is_ready_and_dies_before_load_has_looked(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    """RACE early death: nobody would start another one, and ``load`` would wait for all of them to be ready."""
    ready: list[WorkerProcess] = []

    class Late(threading.Condition):
        def wait(self, timeout: float | None = None) -> bool:
            if threading.current_thread() is not threading.main_thread():
                return super().wait(timeout)
            woken = super().wait(timeout)
            if len(ready) == workers:  # it looks up only when the first of them is dead again
                self.release()
                ready[0].kill()
                until(lambda: ready[0].pidfd < 0)
                self.acquire()
            return woken

    on_ready = fleet.Fleet.on_ready

    def note(self: fleet.Fleet, session: Any) -> None:
        ready.append(session.process)
        on_ready(self, session)

    monkeypatch.setattr(fleet, "threading", types.SimpleNamespace(Condition=Late))
    monkeypatch.setattr(fleet.Fleet, "on_ready", note)
    with pytest.raises(WorkerCrashed, match=r"'Patient'.*SIGKILL"):
        isopod.load(MODELS / "races.py:Patient", workers=workers)


def test_a_load_that_ends_in_the_moment_of_its_deadline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """RACE late load: what is ended for its deadline is not taken in any more, and the load fails for that reason."""
    flag = tmp_path / "loads for ever"
    flag.touch()
    kill = WorkerProcess.kill
    loaded = threading.Event()
    advance = lifecycle.Lifecycle.advance

    def tell(self: lifecycle.Lifecycle, event: str) -> str:
        state = advance(self, event)
        if event == "loaded":
            loaded.set()
        return state

    def late_kill(self: WorkerProcess, reason: str = "") -> None:
        if "deadline" in reason:
            flag.unlink()
            assert loaded.wait(GUARD)
        kill(self, reason)

    monkeypatch.setattr(lifecycle.Lifecycle, "advance", tell)
    monkeypatch.setattr(WorkerProcess, "kill", late_kill)
    with pytest.raises(WorkerTimeout, match=r"'SlowToLoad': loading it took longer than its deadline of 0\.5 s"):
        isopod.load(MODELS / "races.py:SlowToLoad", args={"flag": str(flag)}, load_timeout=0.5).close()


# ---------------------------------------------------------------------- deaths


def test_a_fault_of_ours_does_not_keep_a_death_from_its_callers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    on_ended = fleet.Fleet.on_ended

    def fault(self: fleet.Fleet, session: Any) -> None:
        on_ended(self, session)
        raise OSError("a fault of ours")

    with isopod.load(MODELS / "races.py:Hostile") as model:
        with monkeypatch.context() as patch:
            patch.setattr(fleet.Fleet, "on_ended", fault)
            error = model.submit(do="stacks").exception(GUARD)
        assert isinstance(error, WorkerCrashed)
        until(lambda: "please report it" in caplog.text)
        caplog.clear()  # the record's traceback holds the dead worker
        assert model()["pid"] == model.health.pid


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor")
def test_a_spare_takes_over_where_the_machine_has_not_its_processors_any_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The set of processors that this container may use was made smaller since."""

    def refuse(pid: int, cpus: Any) -> None:
        if pid:
            raise OSError(errno.EINVAL, "Invalid argument")

    first, second = sorted(os.sched_getaffinity(0))[:2]
    with isopod.load(MODELS / "fleets.py:Member", workers=2, standby=1, cpus=[[first], [second]]) as model:
        monkeypatch.setattr(os, "sched_setaffinity", refuse)
        active = model._deployment._fleet.active  # type: ignore[union-attr]
        (spare,) = {0, 1, 2} - {session.replica for session in active}
        os.kill(next(session.process.pid for session in active if session.berth != spare % 2), signal.SIGKILL)
        del active
        until(lambda: "could not be moved to processors" in caplog.text)
        assert {future.result(GUARD)["x"] for future in [model.submit(x=1) for _ in range(10)]} == {1}


# ---------------------------------------------------------------------- new versions, and the end


def test_what_an_old_version_did_not_begin_goes_on_to_the_new_one(tmp_path: Path) -> None:
    """The old worker is killed while it drains, for a call that has passed its deadline: the others are not its."""
    with isopod.load(MODELS / "races.py:Patient", grace=0.0) as model:
        begun = tmp_path / "begun"
        stuck = model.submit(begun=str(begun), until=str(tmp_path / "never"), timeout=2.0)
        until(begun.exists)
        line = [model.submit(x=number) for number in range(100)]  # more than the ring has slots
        old = model.health.pid
        model.reload()
        assert isinstance(stuck.exception(GUARD), WorkerTimeout)
        outs = [future.result(GUARD) for future in line]
        assert [out["x"][0] for out in outs] == list(range(100))
        assert {out["pid"] for out in outs} == {model.health.pid} != {old}
        assert model.stats().crashes == 1


def test_what_waits_for_an_old_version_is_not_begun_by_it_when_its_time_is_over(tmp_path: Path) -> None:
    with isopod.load(MODELS / "races.py:Patient") as model:
        begun = tmp_path / "begun"
        stuck = model.submit(begun=str(begun), until=str(tmp_path / "never"))
        until(begun.exists)
        waits = model.submit(x=1)
        model.reload(drain=0.0)
        with pytest.raises(isopod.Closed, match="a new version took its place"):
            stuck.result(GUARD)
        assert waits.result(GUARD)["pid"] == model.health.pid
        assert model.stats().crashes == 0


def test_a_future_that_is_its_models_last_reference_can_be_cancelled() -> None:
    """RACE last reference: the model goes in the middle of ``cancel``, under the lock of its calls."""
    model = isopod.load(MODELS / "races.py:Patient")
    os.kill(model.health.pid or 0, signal.SIGSTOP)
    future = model.submit(x=1)
    del model
    thread, results = in_thread(future.cancel)
    thread.join(GUARD)
    assert results == [True]


def test_a_version_is_not_started_for_a_model_that_is_closed_meanwhile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """RACE unseen version: it was closed before the new version could be seen by whoever closes it."""
    flag = tmp_path / "loads for ever"
    model = isopod.load(MODELS / "races.py:SlowToLoad", args={"flag": str(flag)})
    flag.touch()
    make = fleet.Fleet.__init__

    def close_first(self: fleet.Fleet, *arguments: Any) -> None:
        make(self, *arguments)
        model.close()

    monkeypatch.setattr(fleet.Fleet, "__init__", close_first)
    thread, results = in_thread(model.reload)
    thread.join(GUARD / 2)
    flag.unlink()
    assert isinstance(results[0], isopod.Closed)


def test_closing_gives_all_versions_together_their_time(tmp_path: Path) -> None:
    """And tells all of them at once: the new one does not go on for as long as the old one takes."""
    model = isopod.load(MODELS / "races.py:Patient")
    begun = tmp_path / "begun"
    stuck = [model.submit(begun=str(begun), until=str(tmp_path / "never"))]
    until(begun.exists)
    model.reload()
    begun.unlink()
    stuck.append(model.submit(begun=str(begun), until=str(tmp_path / "never")))
    until(begun.exists)
    draining = {"draining"}
    thread, _ = in_thread(lambda: model.close(3.0))
    until(lambda: {one.life.state for version in model._deployment._fleets() for one in version.sessions()} == draining)
    assert thread.is_alive()
    thread.join(GUARD)
    assert all(isinstance(future.exception(GUARD), isopod.Closed) for future in stuck)


def test_two_reloads_at_once_are_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """RACE lost version: what the second one does not name is as the first one left it."""
    with isopod.load(MODELS / "races.py:Patient") as model:
        start, entered, second = deployment.Deployment.start, threading.Event(), threading.Event()

        def slow(self: Any, *arguments: Any) -> None:
            entered.set()
            second.wait(0.5)  # as far as it gets
            start(self, *arguments)

        monkeypatch.setattr(deployment.Deployment, "start", slow)
        first, _ = in_thread(lambda: model.reload(MODELS / "fleets.py:Member"))
        assert entered.wait(GUARD)
        other, _ = in_thread(lambda: model.reload(args={}))
        first.join(GUARD)
        second.set()
        other.join(GUARD)
        assert model(x=1)["version"] == 1  # Member's


@pytest.mark.parametrize("drain", [-1.0, float("nan"), "soon"])
def test_a_drain_that_is_no_time(drain: Any) -> None:
    with isopod.load(MODELS / "races.py:Patient") as model:
        with pytest.raises(isopod.SpecError, match="'Patient': drain is a number of seconds"):
            model.reload(drain=drain)
        model.reload(drain=float("inf"))
        assert model(x=1)["x"][0] == 1


# ---------------------------------------------------------------------- the circuit, and the truth


def test_a_broken_model_always_says_why_and_one_that_works_does_not(tmp_path: Path) -> None:
    flag = tmp_path / "loads for ever"
    restart = isopod.Restart(max_restarts=0, cooldown=0.05)
    with isopod.load(MODELS / "races.py:SlowToLoad", args={"flag": str(flag)}, restart=restart) as model:
        flag.touch()
        os.kill(model.health.pid or 0, signal.SIGKILL)
        until(lambda: model.health.workers and model.health.workers[0].state == "loading")  # the probe
        assert (model.health.state, model.health.ready) == ("broken", False)
        assert "1 of its workers died" in model.health.reason
        flag.unlink()
        assert model()["pid"] == model.health.pid
        assert (model.health.state, model.health.reason) == ("ready", "")


def test_a_circuit_with_nothing_to_probe_closes() -> None:
    """RACE nothing to probe: the last seat was filled by a start that was on its way when the circuit opened."""
    restart = isopod.Restart(max_restarts=0, cooldown=3600)
    with isopod.load(MODELS / "races.py:Patient", restart=restart) as model:
        serving = model._deployment._fleet
        assert serving is not None
        with serving._changed:
            serving._circuit.crashed(time.monotonic(), "a test", answered=True)
        serving._resume(cooled=True)
        assert serving._circuit.closed


def test_a_worker_that_dies_before_it_begins_a_second_chance_counts(tmp_path: Path) -> None:
    """Only a call that has killed is to blame: else one in line would keep the circuit closed for ever."""
    restart = isopod.Restart(max_restarts=1, cooldown=3600)
    with isopod.load(MODELS / "fleets.py:Member", retries=5, restart=restart) as model:
        resend = session.Session.resend

        def kill_first(self: session.Session, call: Any, room_by: int) -> None:
            os.kill(self.process.pid, signal.SIGSTOP)
            resend(self, call, room_by)
            self.process.kill("by a test")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(session.Session, "resend", kill_first)
            with pytest.raises(WorkerUnavailable, match="2 of its workers died within 30 s"):
                model(x=1, seen=str(tmp_path / "seen"), deadly=1)


def test_models_that_are_loaded_while_all_are_asked_for() -> None:
    """RACE moving set: a readiness probe goes through all models while another thread loads one."""

    class Thing:
        name, health = "thing", types.SimpleNamespace(state="ready", ready=True)

    kept, done = [], threading.Event()

    def load() -> None:
        while not done.is_set():
            kept.append(supervisor.register(Thing()))
            del kept[:-50]

    thread, _ = in_thread(load)
    try:
        while not kept:
            os.sched_yield()
        for _ in range(2000):
            assert isopod.health()["thing"].ready
    finally:
        done.set()
        thread.join(GUARD)
        supervisor._threads.models -= set(kept)
