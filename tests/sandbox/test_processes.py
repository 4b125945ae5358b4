"""A strict model that may start processes: they work, are as confined as it is, and none of them outlives it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from application import Application, gone
from conflicts.environments import ENVIRONMENTS, had
from waits import GUARD

import isopod
from isopod import Sandbox
from isopod.ipc.errors import ProtocolError, SandboxUnavailable
from isopod.runtime.process import both_ends
from isopod.runtime.sandbox.look import _among_themselves, moved_to
from isopod.runtime.sandbox.machine import trial

HERE = Path(__file__).resolve().parent
MODEL = HERE / "models" / "starter.py"
CONTAINER = HERE.parent / "attacks" / "container.py"
RESERVED = 300  # how many more there may be under root, as docs/sandbox.md says

can_start = pytest.mark.skipif(
    not trial(Sandbox("strict", allow_subprocess=True))[0], reason="this machine gives no namespace of processes"
)


def starter(**options: Any) -> isopod.Model:
    box = Sandbox("strict", allow_subprocess=True, **options)
    return isopod.load(f"{MODEL}:start", sandbox=box, timeout=GUARD, memory_limit=64 << 20)


def descendants() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


@can_start
@pytest.mark.parametrize(
    "how",
    [
        {"how": "python"}, {"how": "shell"}, {"how": "fork"}, {"how": "executor"}, {"how": "pool", "method": "fork"},
        {"how": "pool", "method": "spawn"},
    ],
    ids=lambda how: "-".join(how.values()),
)  # fmt: skip
def test_processes_can_be_started_as_models_do(how: dict[str, Any]) -> None:
    with starter() as model:
        assert model(**how)["output"] == ["10", "True"]


@can_start
def test_a_namespace_of_processes_is_its_own() -> None:
    with starter(max_processes=64) as model:
        report = model.sandbox_report()
        (pid,) = report.pids
        assert model.health.pid == pid
        status = Path(f"/proc/{pid}/status").read_text()
        assert [int(number) for number in status.split("NSpid:")[1].splitlines()[0].split()][-2:] == [pid, 2]
        assert os.readlink(f"/proc/{pid}/ns/pid") != os.readlink("/proc/self/ns/pid")
        told = {one.name: one for one in report.mechanisms}
        assert told["processes"].seen_by == told["namespaces"].seen_by == "application"
        assert "end with the worker" in told["processes"].detail
        assert "processes" in told["namespaces"].detail
        assert any("each process's own" in lack for lack in report.lacks)
        assert "executable: /bin, /usr/bin" in told["files"].detail


@can_start
def test_it_can_signal_nobody_outside() -> None:
    with starter() as model:
        numbers = model(how="numbers")
        assert (numbers["pid"], numbers["parent"]) == (2, 0), "its parent is outside, and has no number"
        assert numbers["others"] == "No such process", "of all that it may signal, there is none"


@can_start
def test_neither_the_first_process_nor_the_warden_has_powers() -> None:
    with starter() as model:
        assert model.health.pid is not None
        warden = psutil.Process(model.health.pid).parent()
        assert warden is not None
        assert len(warden.children()) == 2
        for process in (warden, *warden.children()):
            status = Path(f"/proc/{process.pid}/status").read_text()
            assert {line.split()[1] for line in status.splitlines() if line.startswith(("CapEff", "CapPrm"))} == {
                "0" * 16
            }


WAYS = {
    "exit": "exited with code 7", "abort": "killed by SIGABRT", "fault": "killed by SIGSEGV",
    "kill": "killed by SIGKILL", "group": "killed by SIGKILL", "everybody": "exited with code 7",
    "pipes": "exited with code 7",
    "deadline": "passed its deadline",
}  # fmt: skip


@can_start
@pytest.mark.parametrize("by", list(WAYS))
def test_all_that_it_started_ends_with_the_worker_however_that_ends(by: str) -> None:
    """When the caller hears of it, they are gone: nobody waits for them."""
    with starter() as model:
        model(how="daemons")
        started = descendants()
        assert len(started) == 6, "a warden, a first process, a worker, three daemons"
        with pytest.raises((isopod.WorkerCrashed, isopod.WorkerTimeout), match=WAYS[by]):
            model(how="end", by=by, timeout=1.0 if by == "deadline" else GUARD)
        assert not any(process.is_running() for process in started)
        assert model(how="fork")["output"] == ["10", "True"], "the next worker serves"


@can_start
def test_all_that_it_started_ends_when_the_model_is_closed() -> None:
    with starter() as model:
        model(how="daemons")
        started = descendants()
    assert len(started) == 6
    assert not any(process.is_running() for process in started)


@can_start
@pytest.mark.parametrize("which", ["warden", "first", "worker"])
def test_all_that_it_started_ends_with_each_of_its_three(which: str) -> None:
    with starter() as model:
        model(how="daemons")
        started = descendants()
        worker = psutil.Process(model.health.pid)
        warden = worker.parent()
        assert warden is not None
        first = next(process for process in warden.children() if process != worker)
        {"warden": warden, "first": first, "worker": worker}[which].kill()
        for process in started:
            gone(process.pid)
        assert model(how="fork")["output"] == ["10", "True"]


@can_start
def test_all_that_it_started_ends_with_the_application() -> None:
    """Which is killed, and of whose end the lifeline does not tell: the model holds the other end of each pipe, too."""
    application = Application(f"""
model = isopod.load({str(MODEL)!r} + ":start", sandbox=isopod.Sandbox("strict", allow_subprocess=True))
model(how="keep_lifeline")
model(how="daemons")
import psutil
tell(*[process.pid for process in psutil.Process().children(recursive=True)])
sys.stdin.read()
""")
    numbers = [int(number) for number in application.line().split()]
    assert len(numbers) == 6
    application.process.send_signal(signal.SIGKILL)
    application.end()
    for number in numbers:
        gone(number)


@can_start
def test_a_hanging_worker_tells_where(tmp_path: Path) -> None:
    with starter() as model, pytest.raises(isopod.WorkerTimeout, match=r"starter\.py., line \d+ in _end"):
        model(how="end", by="nothing", timeout=1.0)


@can_start
def test_processes_and_threads_are_bounded() -> None:
    with starter(max_processes=32) as model:
        out = model(how="bomb", size=1000)
        assert out["why"] == "Resource temporarily unavailable"
        assert 16 < out["started"] < 32 + RESERVED
        pid = model.health.pid
        with pytest.raises(isopod.ModelError, match="Resource temporarily unavailable"):
            model(how="fork")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        gone(pid)
        assert model(how="fork")["output"] == ["10", "True"], "the next worker serves"


@can_start
def test_memory_of_what_it_started_counts() -> None:
    with starter() as model:
        before = model.stats().rss_bytes
        model(how="memory", size=64 << 20)
        assert model.stats().rss_bytes - before > 64 << 20


@can_start
def test_semaphores_and_shared_memory_are_seen_nowhere_else() -> None:
    name = f"isopod-test-{os.getpid()}"
    with starter() as model:
        assert name in model(how="shared", name=name)["names"]
        assert name not in os.listdir("/dev/shm")


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.full
@pytest.mark.timeout(900)
@can_start
def test_a_loader_of_torch_with_two_workers() -> None:
    """Their batches cross as numpy arrays: tensors would cross by descriptors, over sockets, and there are none."""
    had("torch 2.13.0")
    box = Sandbox("strict", allow_subprocess=True, scratch=64 << 20)
    with isopod.load(f"{MODEL}:start", env=ENVIRONMENTS["torch 2.13.0"], sandbox=box, timeout=120) as model:
        assert model(how="loader", batches=4)["sums"] == [3.0, 15.0, 27.0, 39.0]


PROGRAM = """
import sys, isopod
try:
    isopod.load(sys.argv[1] + ":start", sandbox=isopod.Sandbox("strict", allow_subprocess=True)).close()
    print("loaded")
except isopod.SandboxUnavailable as error:
    print(error)
"""


def test_a_container_that_forbids_it() -> None:
    command = [sys.executable, str(CONTAINER), sys.executable, "-c", PROGRAM, str(MODEL)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "namespaces: a user namespace cannot be had (Operation not permitted)" in done.stdout, done.stderr
    assert "allow_subprocess needs it" in done.stdout


@pytest.mark.parametrize("done", [{}, {"processes": "1 2"}, {"processes": [1]}, {"processes": [1, -1]}])
def test_numbers_without_their_form_are_a_protocol_error(done: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match="wrong form"):
        moved_to(done)


def test_a_worker_cannot_pass_off_others_processes_as_its_own() -> None:
    """The application would signal them in its place."""
    with both_ends() as (process, _):
        pass
    with contextlib.closing(process), subprocess.Popen(["sleep", "60"]) as bystander:
        process.born(bystander.pid, os.pidfd_open(bystander.pid), lambda: (None, 0))
        with pytest.raises(ProcessLookupError, match="not its own"):
            process.moved(os.getpid(), bystander.pid)
        assert (process.pid, process.may_start) == (bystander.pid, False)
        bystander.kill()


def test_a_worker_without_a_namespace_of_processes_is_not_believed() -> None:
    with pytest.raises(SandboxUnavailable, match="no namespace of processes of its own"):
        _among_themselves("liar", {"NSpid": "4711"}, {"NSpid": "4710"}, {"bound": "few"})
    with pytest.raises(ProtocolError, match="wrong form"):
        _among_themselves("liar", {"NSpid": "4711\t2"}, {"NSpid": "4710"}, {})
