"""How long a crash hurts: SIGKILL in mid-call, until the caller has its error, and until it has the next answer."""

from __future__ import annotations

import os
import select
import signal
import tempfile
import threading
import time
from pathlib import Path

import isopod
from benchmarks.effort import Effort
from benchmarks.progress import Progress
from benchmarks.results import Key, Results

NAME = "crash"
ERROR, ANSWER = "SIGKILL in mid-call, until the error", "the same, until the next answer"
_MODEL = f"{Path(__file__).resolve().parent / 'holding.py'}:echo"
_ANSWER = 42
_ROUND = 0.3  # seconds, about
_PATIENCE = 30.0  # seconds for a call to reach the model; only a fault makes anybody wait that long


def planned(effort: Effort) -> float:
    """Seconds that ``run`` will take, about."""
    return _ROUND * (effort.crashes + 1)


def run(effort: Effort, results: Results, progress: Progress) -> None:
    with tempfile.TemporaryDirectory(prefix="isopod-bench-") as folder, isopod.load(_MODEL) as model:
        lobby = Path(folder) / "lobby"
        os.mkfifo(lobby, 0o600)
        for number in range(effort.crashes + 1):
            progress.step(f"{NAME}, {number} of {effort.crashes}", _ROUND)
            error, answer = _round(model, lobby)
            if number:  # the first one warmed up
                results.add(Key(NAME, "unpinned", "whole", ERROR), [error])
                results.add(Key(NAME, "unpinned", "whole", ANSWER), [answer])


def _round(model: isopod.Model, lobby: Path) -> tuple[int, int]:
    """Nanoseconds from the kill to the error, and to the answer of the next call, which is made at once."""
    killed = [0]
    model(value=1)
    victim = model.health.pid
    assert victim is not None
    reader = os.open(lobby, os.O_RDONLY | os.O_NONBLOCK)  # at once, though nobody writes yet

    def strike() -> None:
        waiting = select.poll()
        waiting.register(reader, select.POLLIN)
        if waiting.poll(_PATIENCE * 1e3):
            killed[0] = time.perf_counter_ns()
            os.kill(victim, signal.SIGKILL)

    striker = threading.Thread(target=strike, daemon=True)
    striker.start()
    try:
        model(lobby=str(lobby), timeout=_PATIENCE)
    except isopod.WorkerCrashed:
        raised = time.perf_counter_ns()
    else:
        raise AssertionError("a call whose worker was killed was answered")
    finally:
        striker.join()
        os.close(reader)
    answer = model(value=_ANSWER)
    answered = time.perf_counter_ns()
    assert answer.value == _ANSWER
    return raised - killed[0], answered - killed[0]
