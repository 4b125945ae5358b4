"""Ratios of the same run: isopod and a yardstick in turn, the lower quartile of each turn against the other's.

Neighbours only ever add time, so the quicker calls of a turn tell more of us and less of them. Each round gives one
ratio, and their spread says how much it is worth.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import isopod
from benchmarks import functions
from benchmarks.measure import timed
from benchmarks.peers.yardsticks import ping_pong, pipe_peer
from benchmarks.placement import Placement, pin, placements
from benchmarks.progress import Progress
from benchmarks.quick.baseline import RATIO, Figure

_FOLDER = Path(functions.__file__).resolve().parent
_LEAST_ROUNDS = 8
_SMALL, _LARGE = 1 << 10, 1 << 24  # bytes
_PAUSE = 0.001  # seconds
_OPENING = 3.0  # seconds, about


@dataclass(frozen=True)
class _Pair:
    """What is divided by what; so many calls of each are a turn, after one or more that are not counted."""

    name: str
    ours: Callable[[], object]
    yardstick: Callable[[], object]
    calls: int
    pause: float = 0.0

    def round(self) -> float:
        return self._quartile(self.ours) / self._quartile(self.yardstick)

    def _quartile(self, call: Callable[[], object]) -> float:
        timed(call, max(1, self.calls // 10), self.pause)
        return statistics.quantiles(timed(call, self.calls, self.pause), n=4)[0]


def planned(seconds: float) -> float:
    """Seconds that ``measure`` takes, about."""
    return len(_places()) * (seconds + _OPENING)


def measure(seconds: float, progress: Progress) -> dict[str, Figure]:
    """The ratios of each placement, each for so many seconds."""
    everywhere = frozenset(os.sched_getaffinity(0))
    found: dict[str, Figure] = {}
    try:
        for place in _places():
            progress.step(f"ratios, {place.name}", seconds + _OPENING)
            found.update(_measure(place, seconds))
            pin(os.getpid(), everywhere)
    finally:
        pin(os.getpid(), everywhere)
    return found


def _places() -> list[Placement]:
    """Pinned ones only: unpinned, the scheduler decides from one moment to the next which of them it is."""
    return [place for place in placements() if place.name != "unpinned"]


def _measure(place: Placement, seconds: float) -> dict[str, Figure]:
    if place.here == place.there:
        pin(os.getpid(), place.here)  # before anybody starts, as somebody does who wants both on one core
    with _pairs(place) as pairs:
        rounds: dict[str, list[float]] = {pair.name: [] for pair in pairs}
        until, done = time.monotonic() + seconds, 0
        while done < _LEAST_ROUNDS or time.monotonic() < until:
            for pair in pairs:
                rounds[pair.name].append(pair.round())
            done += 1
    return {f"{name}, {place.name}": Figure.of(RATIO, values) for name, values in rounds.items()}


@contextlib.contextmanager
def _pairs(place: Placement) -> Iterator[list[_Pair]]:
    with contextlib.ExitStack() as stack:
        first, plus_one = (_model(stack, f"functions.py:{name}") for name in ("first", "plus_one"))
        placed = _model(stack, "placed.py:plus_one")
        pipe, semaphores = stack.enter_context(pipe_peer("first")), stack.enter_context(ping_pong())
        place.apply([*(model.health.pid or 0 for model in (first, plus_one, placed)), pipe.pid, semaphores.pid])
        small, large = (np.arange(nbytes // 4, dtype=np.float32) for nbytes in (_SMALL, _LARGE))
        there, back = np.zeros_like(large), np.zeros_like(large)
        x, wide, wide_placed = _shared(first, small), _shared(first, large), _shared(placed, large)

        def copies() -> None:
            np.copyto(there, large)
            np.copyto(back, there)

        yield [
            _Pair("1 KB, small / semaphores", lambda: first(x=x), semaphores, 200),
            _Pair("1 KB, small / Pipe", lambda: first(x=x), lambda: pipe(small), 100),
            _Pair("1 KB, small / semaphores, every 1 ms", lambda: first(x=x), semaphores, 20, _PAUSE),
            _Pair("16 MB, small / 1 KB, small", lambda: first(x=wide), lambda: first(x=x), 100),
            _Pair("16 MB, x + 1, no copies / in process", lambda: placed(x=wide_placed), lambda: large + 1, 5),
            _Pair("16 MB, x + 1, copies / two memcpys", lambda: plus_one(x=large), copies, 5),
        ]


def _model(stack: contextlib.ExitStack, target: str) -> isopod.Model:
    return stack.enter_context(isopod.load(f"{_FOLDER / target}"))


def _shared(model: isopod.Model, array: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> object:
    x = model.empty("x", array.shape, array.dtype)
    x[:] = array
    return x
