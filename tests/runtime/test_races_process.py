"""Processes and their descriptors at the wrong moment: numbers that are used again, starts that are interrupted."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waits import GUARD, until

import isopod
from isopod import Closed, WorkerCrashed, WorkerUnavailable
from isopod.ipc.segment import Segment
from isopod.runtime import fleet, mailboxes, process
from isopod.runtime.process import WorkerProcess

MODELS = Path(__file__).resolve().parent.parent / "models"


@contextlib.contextmanager
def stillborn(folder: Path) -> Iterator[WorkerProcess]:
    """A worker process that nobody watches: it waits for its parent's answer to hello."""
    worker = process.spawn(Path(sys.executable), {}, folder)
    try:
        yield worker
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGKILL)
        worker.reap()
        worker.close()


def test_a_kill_that_comes_too_late_hits_nobody(tmp_path: Path) -> None:
    """The number of a process descriptor is used again at once: by the next worker's."""
    with stillborn(tmp_path) as first:
        number = first.pidfd
    with stillborn(tmp_path) as second:
        if second.pidfd != number:
            os.dup2(second.pidfd, number, inheritable=False)
        try:
            first.kill("too late")
            first.dump_stacks()
            # The one wait for something that must not come: a wrong kill is seen within a millisecond.
            assert not select.select([second.pidfd], [], [], 0.2)[0]
        finally:
            if second.pidfd != number:
                os.close(number)


def test_a_segment_is_not_closed_while_it_is_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between reading a descriptor's number and copying it, another thread closes it: then it is another file's."""
    segment = Segment.create(4096)
    closers: list[threading.Thread] = []
    dup = os.dup

    def slow_dup(number: int) -> int:
        closers.append(threading.Thread(target=segment.close))
        closers[0].start()
        closers[0].join(0.05)  # as far as it gets
        return dup(number)

    monkeypatch.setattr(os, "dup", slow_dup)
    copy = segment.duplicate()
    closers[0].join(GUARD)
    os.close(copy)
    with pytest.raises(OSError, match="closed"):
        segment.duplicate()


def test_an_interrupt_while_a_process_is_spawned_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(threading.Condition):
        def wait(self, timeout: float | None = None) -> bool:
            if threading.current_thread() is threading.main_thread():
                raise KeyboardInterrupt
            return super().wait(timeout)

    monkeypatch.setattr(fleet, "threading", types.SimpleNamespace(Condition=Interrupted))
    with pytest.raises(KeyboardInterrupt):
        isopod.load(MODELS / "races.py:Patient")  # the census finds the process


@pytest.mark.parametrize("what", ["ParentDoorbell", "Segment", "Receiver"])
def test_a_session_that_cannot_be_made_leaves_nothing(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(*_: Any, **__: Any) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    owner, name = (Segment, "create") if what == "Segment" else (mailboxes, what)
    monkeypatch.setattr(owner, name, no_more)
    with pytest.raises(WorkerUnavailable, match=r"'Patient': no worker could be started: .*too many"):
        isopod.load(MODELS / "races.py:Patient")  # the census finds the process and its descriptors


def test_a_process_without_a_descriptor_is_not_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_more(pid: int) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(os, "pidfd_open", no_more)
    with pytest.raises(OSError, match="too many"):
        process.spawn(Path(sys.executable), {}, tmp_path)


def test_closing_while_a_process_is_spawned_does_not_wait_for_its_load(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    flag = tmp_path / "load for ever"
    model = isopod.load(MODELS / "races.py:SlowToLoad", args={"flag": str(flag)})
    with pytest.raises(WorkerCrashed):
        model(die=True)
    flag.touch()
    spawn, spawning, spawned = process.spawn, threading.Event(), threading.Event()

    def slow_spawn(*arguments: Any) -> WorkerProcess:
        worker = spawn(*arguments)
        spawning.set()
        assert spawned.wait(GUARD)
        return worker

    monkeypatch.setattr(process, "spawn", slow_spawn)
    errors: list[BaseException] = []

    def call() -> None:
        try:
            model()
        except BaseException as error:
            errors.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    assert spawning.wait(GUARD)
    closer = threading.Thread(target=model.close)
    closer.start()
    until(lambda: model._deployment._closed)
    spawned.set()
    closer.join(GUARD / 3)
    waited = closer.is_alive()
    flag.unlink()
    closer.join(GUARD)
    caller.join(GUARD)
    assert not waited
    assert isinstance(errors[0], Closed)


def test_nothing_is_allocated_once_a_model_is_closed() -> None:
    """A caller that is past every check when the model is closed: what it allocates would never be given back."""
    model = isopod.load(MODELS / "races.py:Patient")
    owner = model._deployment.owner
    model.close()
    with pytest.raises(Closed):
        owner.empty(8, "uint8", "x")
    assert owner.arena.reserved == 0


def test_a_dispatcher_that_cannot_be_started_is_started_later(monkeypatch: pytest.MonkeyPatch) -> None:
    with isopod.load(MODELS / "races.py:Patient") as model:

        def no_more(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_more)
            with pytest.raises(RuntimeError, match="new thread"):
                model.submit(x=1)
        assert model.submit(x=2).result(GUARD)["x"][0] == 2


def test_a_callback_that_exits_does_not_end_the_dispatcher() -> None:
    with isopod.load(MODELS / "races.py:Patient") as model:

        def leave(_: object) -> None:
            sys.exit("a callback's own business")

        model.submit(x=1).add_done_callback(leave)
        assert model.submit(x=2).result(GUARD)["x"][0] == 2
