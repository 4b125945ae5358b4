"""What isopod promises of its speed, each promise beside its yardstick in the same run: met, or by how much it is not.

A target is ``times`` its yardstick and ``plus_us`` more. Everything is in microseconds a call, also where a rate is
promised, so that less is better in each line. Medians.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import isopod
from benchmarks.effort import Effort
from benchmarks.measure import Contender, interleaved
from benchmarks.parallel import by_tasks, by_threads
from benchmarks.peers.yardsticks import PingPong, PipePeer, ping_pong, pipe_peer
from benchmarks.placement import placements
from benchmarks.progress import Progress
from benchmarks.results import Key, Results
from isopod.ipc import tensor

NAME = "targets"
MEASURED, YARDSTICK = "measured", "yardstick"
_FOLDER = Path(__file__).resolve().parent
_SMALL, _LARGE = 1 << 10, 1 << 24  # bytes
_TENSORS, _STRINGS, _TASKS, _MANY = 100, 1000, 1000, 10
_PAUSE = 0.001  # seconds


@dataclass(frozen=True)
class Target:
    what: str
    yardstick: str
    times: float
    plus_us: float = 0.0


SPINNING = Target("1 KB in shared memory, two cores", "12 µs", 0.0, 12.0)
PARKED = Target("1 KB in shared memory, one core", "semaphores alone", 2.5)
UNPINNED = Target("1 KB in shared memory, unpinned", "pipe, pickle 5", 0.2)
LARGE = Target("16 MB in shared memory, unpinned", "1 KB in shared memory", 1.3)
COPIED = Target("16 MB copied in and out, unpinned", "two memcpys", 1.25)
PLACED = Target("16 MB, x + 1, empty in and out, unpinned", "x + 1 in process", 1.1)
PACED = Target("1 KB, 1 ms between calls, unpinned", "semaphores alone", 1.5, 10.0)
TENSORS = Target("a tensor, of 100 in one call, unpinned", "3 µs", 0.0, 3.0)
STRINGS = Target("1,000 strings packed and unpacked", "one join and one split, UTF-8", 2.0)
LOADED = Target("1 KB, every core busy", "a caller and a worker that never spin", 1.05)
CROWD = Target("ten workers, ten threads", "two workers, two threads", 1.5)
THREADS = Target("four threads, 50 µs of compute", "one thread", 1 / 1.7)
TASKS = Target("1,000 tasks in flight, 50 µs of compute", "four threads", 1 / 0.7)
IDLE = Target("ten idle workers, processor time a second", "none at all", 0.0, 0.0)
ALL = (
    SPINNING, PARKED, UNPINNED, LARGE, COPIED, PLACED, PACED, TENSORS, STRINGS, LOADED, CROWD, THREADS, TASKS, IDLE,
)  # fmt: skip


def planned(effort: Effort) -> float:
    """Seconds that ``run`` will take, about."""
    return 6.0 + 10 * (effort.warm_up + effort.seconds) + 4 * effort.seconds + 3 * effort.seconds


def run(effort: Effort, results: Results, progress: Progress) -> None:
    progress.step(f"{NAME}: starting the children", 3.0)
    with contextlib.ExitStack() as stack:
        bench = _Bench(effort, results, progress, stack)
        try:
            bench.placed()
        finally:
            bench.places[0].apply(())
        bench.sizes()
        bench.many_values()
        bench.callers()
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(_load("first")) for _ in range(_MANY)]
        _crowded(crowd, effort, results, progress)
        _idle(crowd, effort, results, progress)


class _Bench:
    """One model for each question, all of them running."""

    def __init__(self, effort: Effort, results: Results, progress: Progress, stack: contextlib.ExitStack) -> None:
        self._effort, self._results, self._progress = effort, results, progress
        open_ = stack.enter_context
        self._first: isopod.Model = open_(_load("first"))
        self._parked: isopod.Model = open_(_load("first", "parked.py"))
        self._private: isopod.Model = open_(_load("private"))
        self._plus_one: isopod.Model = open_(_load("plus_one", "placed.py"))
        self._count: isopod.Model = open_(_load("count"))
        self._busy: isopod.Model = open_(_load("busy"))
        self._pipe: PipePeer = open_(pipe_peer("first"))
        self._semaphores: PingPong = open_(ping_pong())
        self.places = placements()
        self._small = np.arange(_SMALL // 4, dtype=np.float32)
        self._shared = _in_shared(self._first, self._small)

    def _compare(
        self, target: Target, measured: Callable[[], object], yardstick: Callable[[], object], pause: float = 0.0
    ) -> None:
        effort = self._effort
        self._progress.step(f"{NAME}: {target.what}", effort.warm_up + effort.seconds)
        contenders = [Contender(MEASURED, measured), Contender(YARDSTICK, yardstick)]
        _add(self._results, target, interleaved(contenders, effort.warm_up, effort.seconds, pause))

    def _call(self) -> object:
        return self._first(x=self._shared)

    def placed(self) -> None:
        """Those that say where both sides run."""
        children = [self._first.health.pid or 0, self._pipe.pid, self._semaphores.pid]
        for place in self.places:
            place.apply(children)
            if place.name == "unpinned":
                self._compare(UNPINNED, self._call, lambda: self._pipe(self._small))
            else:
                self._compare(PARKED if place.name == "one core" else SPINNING, self._call, self._semaphores)
        self.places[0].apply(children)
        self._compare(PACED, self._call, self._semaphores, _PAUSE)

    def sizes(self) -> None:
        large = np.ones(_LARGE // 4, np.float32)
        shared, placed = _in_shared(self._first, large), _in_shared(self._plus_one, large)
        self._compare(LARGE, lambda: self._first(x=shared), self._call)
        here, there = np.empty_like(large), np.empty_like(large)

        def two_copies() -> None:
            np.copyto(here, large)
            np.copyto(there, here)

        self._compare(COPIED, lambda: self._private(x=large), two_copies)
        self._compare(PLACED, lambda: self._plus_one(x=placed), lambda: np.add(placed, 1, out=here))

    def many_values(self) -> None:
        tensors = {f"x{number}": np.zeros(4, np.float32) for number in range(_TENSORS)}
        self._compare(TENSORS, lambda: self._count(tensors), self._call)
        self._results.divide(Key(NAME, TENSORS.yardstick, TENSORS.what, MEASURED), _TENSORS)
        words = np.array([f"wörter und words {number}" for number in range(_STRINGS)], dtype=object)
        code = tensor.code_of(words)
        self._compare(
            STRINGS,
            lambda: tensor.unpack_text(code, words.shape, tensor.pack_text(words, "words")),
            lambda: np.array("\0".join(words.tolist()).encode().decode().split("\0"), dtype=object),
        )

    def callers(self) -> None:
        self._loaded()
        call = lambda: self._busy(x=self._small)  # noqa: E731
        for _ in _turns(self._effort, self._progress, THREADS):
            one, four = by_threads([call], 400), by_threads([call] * 4, 100)
            tasks = by_tasks(self._busy, {"x": self._small}, _TASKS)
            _add(self._results, THREADS, {MEASURED: [four], YARDSTICK: [one]})
            _add(self._results, TASKS, {MEASURED: [tasks], YARDSTICK: [four]})

    def _loaded(self) -> None:
        spin = self._parked._deployment._fleet.active[0]._mail.receiver._spin  # type: ignore[union-attr]
        spin.budget_ns, spin.spins = 0, False
        shared = _in_shared(self._parked, self._small)
        with _busy_cores(len(self.places[0].here)):
            self._compare(LOADED, self._call, lambda: self._parked(x=shared))


def _crowded(crowd: list[isopod.Model], effort: Effort, results: Results, progress: Progress) -> None:
    calls = [_caller(model) for model in crowd]
    for _ in _turns(effort, progress, CROWD):
        _add(results, CROWD, {MEASURED: [by_threads(calls, 200)], YARDSTICK: [by_threads(calls[:2], 200)]})


def _idle(crowd: list[isopod.Model], effort: Effort, results: Results, progress: Progress) -> None:
    seconds = 3 * effort.seconds
    progress.step(f"{NAME}: {IDLE.what}", seconds)
    pids = [model.health.pid or 0 for model in crowd]
    time.sleep(0.3)  # what the last calls have left behind
    before = sum(map(_cpu_ns, pids))
    time.sleep(seconds)
    _add(results, IDLE, {MEASURED: [int((sum(map(_cpu_ns, pids)) - before) / seconds)], YARDSTICK: [0]})


def _turns(effort: Effort, progress: Progress, target: Target) -> Iterator[None]:
    progress.step(f"{NAME}: {target.what}", 2 * effort.seconds)
    until = time.monotonic() + 2 * effort.seconds
    yield
    while time.monotonic() < until:
        yield


def _add(results: Results, target: Target, samples: dict[str, list[int]]) -> None:
    for who, nanoseconds in samples.items():
        results.add(Key(NAME, target.yardstick, target.what, who), nanoseconds)


def _caller(model: isopod.Model) -> Callable[[], object]:
    shared = _in_shared(model, np.arange(_SMALL // 4, dtype=np.float32))
    return lambda: model(x=shared)


def _in_shared(model: isopod.Model, array: Any) -> Any:
    shared = model.empty("x", array.shape, array.dtype)
    shared[:] = array
    return shared


def _load(function: str, file: str = "functions.py") -> isopod.Model:
    return isopod.load(f"{_FOLDER / file}:{function}")


@contextlib.contextmanager
def _busy_cores(count: int) -> Iterator[None]:
    """As many processes as there are cores that do nothing but compute."""
    command = [sys.executable, "-c", "while True: pass"]
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            process = stack.enter_context(subprocess.Popen(command))
            stack.callback(process.kill)
        yield


def _cpu_ns(pid: int) -> int:
    """Processor time of all threads of a process so far."""
    return sum(
        int(task.read_text(encoding="ascii").split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")
    )
