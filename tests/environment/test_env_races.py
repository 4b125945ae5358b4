"""Several at once, and sudden ends: one build however many ask, and nothing half-made is ever served.

No test waits for a while and hopes: processes are held at known points by pipes, and every wait is for an event.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from isopod.runtime.environment import BuildEvent, Env, Prepared, prepare
from isopod.runtime.environment.process import run
from isopod.runtime.environment.store import Store

# Asks for an environment; prints each stage, and stops at those named in argv[2] until it may read a line.
_ASK = """\
import os, sys
from isopod.runtime.environment import Env, prepare
index, stops, *requirements = sys.argv[1:]
def told(event):
    print(event.stage, flush=True)
    if event.stage in stops.split(","):
        sys.stdin.readline()
pipe = os.environ.get("PIPE_TO_BLOCK_ON")
env = Env(requirements, find_links=[index], no_index=True, warm=["blocker"] if pipe else (),
          variables={"BLOCKER_PIPE": pipe} if pipe else {})
sys.stdin.readline()
print("cached" if prepare(env, on_event=told).cached else "built", flush=True)
"""


def _ask(index: Path, *requirements: str, stops: str = "", pipe: Path | None = None) -> subprocess.Popen[str]:
    """Start a process that asks for an environment as soon as it is sent a line."""
    return subprocess.Popen(
        [sys.executable, "-c", _ASK, str(index), stops, *requirements],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **({"PIPE_TO_BLOCK_ON": str(pipe)} if pipe else {})},
    )


def _go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def _until(process: subprocess.Popen[str], stage: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == stage:
            return
    raise AssertionError(f"the process ended before {stage!r}")


def _env(index: Path, *requirements: str, pipe: str | None = None) -> Env:
    warm = ("blocker",) if pipe else ()
    variables = {"BLOCKER_PIPE": pipe} if pipe else {}
    return Env(requirements, find_links=[str(index)], no_index=True, warm=warm, variables=variables)


def _staging(store: Path) -> list[Path]:
    return [path for path in store.iterdir() if path.name.startswith(".staging")]


def _published(store: Path) -> list[Path]:
    return [path for path in store.iterdir() if path.is_dir() and not path.name.startswith(".")]


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def _nobody_reads(pipe: Path) -> bool:
    try:
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    except OSError as error:
        return error.errno == errno.ENXIO
    return False


def test_threads_build_once(machine: Path, index: Path) -> None:
    gate = threading.Barrier(6)

    def ask(_: int) -> Prepared:
        gate.wait()
        return prepare(_env(index, "clash==1.0"))

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, range(6)))
    assert sorted(answer.cached for answer in answers) == [False, True, True, True, True, True]
    assert len({answer.prefix for answer in answers}) == 1
    assert _staging(machine) == []


def test_processes_build_once(machine: Path, index: Path) -> None:
    askers = [_ask(index, "clash==1.0") for _ in range(3)]
    for asker in askers:
        _go(asker)
    answers = [asker.communicate()[0].splitlines()[-1] for asker in askers]
    assert sorted(answers) == ["built", "cached", "cached"]
    assert _staging(machine) == []
    assert len(_published(machine)) == 1


def test_one_that_waits_says_for_whom_and_does_not_stall_others(machine: Path, index: Path) -> None:
    builder = _ask(index, "clash==1.0", stops="install")
    _go(builder)
    _until(builder, "install")
    # another environment is built in the meantime
    assert not prepare(_env(index, "clash==2.0")).cached

    events: list[BuildEvent] = []
    waits = threading.Event()

    def told(event: BuildEvent) -> None:
        events.append(event)
        if event.stage == "wait":
            waits.set()

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(prepare, _env(index, "clash==1.0"), on_event=told)
        assert waits.wait(30)
        assert str(builder.pid) in events[0].message
        _go(builder)
        assert answer.result(30).cached
    assert builder.communicate()[0].splitlines()[-1] == "built"
    assert [event.stage for event in events] == ["wait", "done"]


@pytest.mark.parametrize("stage", ["resolve", "install"])
def test_a_killed_build_is_never_served_and_is_cleared(machine: Path, index: Path, stage: str) -> None:
    builder = _ask(index, "clash==1.0", stops=stage)
    _go(builder)
    _until(builder, stage)
    builder.kill()
    builder.communicate()
    assert len(_staging(machine)) == 1
    assert _published(machine) == []
    prepared = prepare(_env(index, "clash==1.0"))
    assert not prepared.cached
    assert _staging(machine) == []
    assert [folder.name for folder in _published(machine)] == [prepared.key]


def test_an_orphan_of_a_killed_build_keeps_the_lock_until_it_ends(machine: Path, index: Path, pipe: Path) -> None:
    builder = _ask(index, "blocker", pipe=pipe)
    _go(builder)
    writer = os.open(pipe, os.O_WRONLY)  # returns once the import, in a child of the builder, reads
    builder.kill()
    builder.communicate()
    (lock,) = machine.glob("*.lock")
    with lock.open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with ThreadPoolExecutor(1) as pool:
        waits = threading.Event()
        answer = pool.submit(
            prepare,
            _env(index, "blocker", pipe=os.devnull),
            on_event=lambda e: waits.set() if e.stage == "wait" else None,
        )
        assert waits.wait(30)
        os.close(writer)
        assert not answer.result(30).cached
    assert _staging(machine) == []


def test_ctrl_c_ends_the_tools_and_leaves_nothing(machine: Path, index: Path, pipe: Path) -> None:
    builder = _ask(index, "blocker", pipe=pipe)
    _go(builder)
    writer = os.open(pipe, os.O_WRONLY)
    builder.send_signal(signal.SIGINT)
    _, errors = builder.communicate()
    assert "KeyboardInterrupt" in errors
    os.close(writer)
    assert _nobody_reads(pipe), "the import outlived the build"
    assert _staging(machine) == []
    assert _published(machine) == []
    assert not prepare(_env(index, "blocker", pipe=os.devnull)).cached


def test_a_program_is_ended_after_its_time(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        ended = run(
            [sys.executable, "-I", "-S", "-c", "import signal; signal.pause()"],
            environment=dict(os.environ), lock=lock.fileno(), line=print, seconds=0.05,
        )  # fmt: skip
    assert ended.timed_out
    assert ended.code == -signal.SIGKILL


def test_what_a_program_leaves_behind_is_ended_and_does_not_hold_us(tmp_path: Path, pipe: Path) -> None:
    grandchild = f"open({str(pipe)!r}).read()"
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {grandchild!r}]); print('gone')"
    lines: list[str] = []
    with (tmp_path / "lock").open("w") as lock:
        command = [sys.executable, "-I", "-S", "-c", code]
        ended = run(command, environment=dict(os.environ), lock=lock.fileno(), line=lines.append)
    assert (ended.code, lines) == (0, ["gone"])
    assert _nobody_reads(pipe)


def test_a_lock_is_free_after_an_error(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def fail() -> None:
        with store.lock("key", lambda holder: None):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with store.lock("key", lambda holder: pytest.fail(f"still held by {holder}")):
        pass


def test_ctrl_c_ends_a_wait_and_leaves_the_builder_alone(machine: Path, index: Path) -> None:
    builder, waiter = _ask(index, "clash==1.0", stops="install"), _ask(index, "clash==1.0")
    _go(builder)
    _until(builder, "install")
    _go(waiter)
    _until(waiter, "wait")
    waiter.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in waiter.communicate()[1]
    _go(builder)
    assert builder.communicate()[0].splitlines()[-1] == "built"
    assert prepare(_env(index, "clash==1.0")).cached
