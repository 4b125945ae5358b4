"""How long a crash hurts: SIGKILL in mid-call, until the caller has its error, and until there is an answer again.

Models take turns, and each is whole again, spares too, before the next one's turn: what loads in the background would
be measured with it. With ``retries`` the killed call itself is answered. The same call is made undisturbed right
before, and the difference of the two is what the kill costs its caller, besides what had been computed until then.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import isopod
from benchmarks.effort import Effort
from benchmarks.progress import Progress
from benchmarks.results import Key, Results

NAME = "crash"
ERROR = "until its caller has the error"
RESTART = "until the next answer: restart, numpy only"
TORCH = "until the next answer: restart, imports torch"
STANDBY = "until the next answer: standby"
RETRIED = "until its own answer: retry on a standby"
UNDISTURBED = "the same call, undisturbed"
COST = "what the kill costs it: the difference"
ROWS = (ERROR, RESTART, TORCH, STANDBY, RETRIED, UNDISTURBED, COST)  # in the order of the table
_FOLDER = Path(__file__).resolve().parent
_ANSWER = 42
_ROUND = 0.25  # seconds, about, for each model
_TORCH = isopod.Env(["torch==2.13.0", "numpy"], python="3.11")
_TORCH_OPENING, _TORCH_ROUND = 10.0, 4.0  # seconds, about, once its environment is built
_PATIENCE = 30.0  # seconds for a call to reach the model; only a fault makes anybody wait that long
_START = 120.0  # seconds for a model to be whole again; the same


def planned(effort: Effort) -> float:
    """Seconds that ``run`` will take, about."""
    torch = _TORCH_OPENING + _TORCH_ROUND * effort.torch_crashes if effort.torch_crashes else 0.0
    return 3 * _ROUND * (effort.crashes + 1) + torch


def run(effort: Effort, results: Results, progress: Progress) -> None:
    with tempfile.TemporaryDirectory(prefix="isopod-bench-") as folder:
        lobby = Path(folder) / "lobby"
        os.mkfifo(lobby, 0o600)
        with _open() as restart, _open(standby=1) as standby, _open(standby=1, retries=1) as retrying:
            for number in range(effort.crashes + 1):
                progress.step(f"{NAME}, {number} of {effort.crashes}", 3 * _ROUND)
                taken = [*_replaced(restart, lobby, RESTART), *_replaced(standby, lobby, STANDBY)]
                taken += _retried(retrying, lobby)
                if number:  # the first one warmed up
                    _add(results, taken)
        if effort.torch_crashes:
            _with_torch(effort, results, progress, lobby)


def _with_torch(effort: Effort, results: Results, progress: Progress, lobby: Path) -> None:
    progress.step(f"{NAME}, with torch (its environment is built the first time, which takes minutes)", _TORCH_OPENING)
    with contextlib.ExitStack() as stack:
        try:
            subject = stack.enter_context(_open("holding_torch.py", env=_TORCH))
        except isopod.EnvironmentBuildError as error:
            results.note(NAME, f"Torch is left out, for it cannot be had here: {str(error).splitlines()[0]}")
            return
        for number in range(effort.torch_crashes):
            progress.step(f"{NAME}, with torch, {number} of {effort.torch_crashes}", _TORCH_ROUND)
            _add(results, _replaced(subject, lobby, TORCH))


Taken = list[tuple[str, int]]  # what was measured, in nanoseconds


def _add(results: Results, taken: Taken) -> None:
    for who, nanoseconds in taken:
        results.add(Key(NAME, "unpinned", "whole", who), [nanoseconds])


@dataclass(frozen=True)
class _Subject:
    """A model, and how many workers it has when it is whole."""

    model: isopod.Model
    workers: int

    def victim(self) -> int:
        """The process that the next call goes to, once the model is whole and has answered."""
        until = time.monotonic() + _START
        while [worker.state for worker in self.model.health.workers] != ["ready"] * self.workers:
            assert time.monotonic() < until, f"{self.model} is not whole again"
            time.sleep(0.005)  # an application is not told of it, and to spin would take time from what loads
        return int(self.model(value=1)["pid"])


@contextlib.contextmanager
def _open(file: str = "holding.py", **options: Any) -> Iterator[_Subject]:
    endless = isopod.Restart(max_restarts=None)
    with isopod.load(f"{_FOLDER / file}:echo", restart=endless, **options) as model:
        yield _Subject(model, len(model.health.workers))


def _replaced(subject: _Subject, lobby: Path, who: str) -> Taken:
    """From the kill to the error, and to the answer of the next call, which is made at once."""
    model = subject.model
    with _striker(subject.victim(), lobby) as killed:
        try:
            model(lobby=str(lobby), timeout=_PATIENCE)
        except isopod.WorkerCrashed:
            raised = time.perf_counter_ns()
        else:
            raise AssertionError("a call whose worker was killed was answered")
        answer = model(value=_ANSWER)
        answered = time.perf_counter_ns()
    assert answer["value"] == _ANSWER
    return [(ERROR, raised - killed()), (who, answered - killed())]


def _retried(subject: _Subject, lobby: Path) -> Taken:
    """From the kill to the answer of the very call that was killed, and what the same call takes without that."""
    model, victim = subject.model, subject.victim()

    def answered() -> int:
        answer = model(lobby=str(lobby), value=_ANSWER, timeout=_PATIENCE)
        moment = time.perf_counter_ns()
        assert answer["value"] == _ANSWER
        return moment

    began = time.perf_counter_ns()
    undisturbed = answered() - began
    with _striker(victim, lobby) as killed:
        taken = answered() - killed()
    return [(RETRIED, taken), (UNDISTURBED, undisturbed), (COST, taken - undisturbed)]


@contextlib.contextmanager
def _striker(victim: int, lobby: Path) -> Iterator[Callable[[], int]]:
    """Kills a process once its model is in the lobby, where nobody waits for the next one. Gives the time of that."""
    killed: list[int] = []
    reader = os.open(lobby, os.O_RDONLY | os.O_NONBLOCK)  # at once, though nobody writes yet

    def strike() -> None:
        waiting = select.poll()
        waiting.register(reader, select.POLLIN)
        met = waiting.poll(_PATIENCE * 1e3)
        os.close(reader)
        if met:
            killed.append(time.perf_counter_ns())
            os.kill(victim, signal.SIGKILL)

    striker = threading.Thread(target=strike, daemon=True)
    striker.start()
    try:
        yield lambda: killed[0]
    finally:
        striker.join()
