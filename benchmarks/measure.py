"""How samples are taken: contenders take turns in short chunks, and each call is timed by itself.

Whatever else the machine does meanwhile then hits all of them alike. The first calls of a chunk bring caches, pages and
the scheduler back to this contender and are not counted; every other sample is, outliers too. Letting go of a result
is part of its call. The garbage collector runs as it would for a user.
"""

from __future__ import annotations

import functools
import gc
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_CHUNK_NS = 20_000_000  # a turn's length, about
_CHUNK_CALLS = 400
_PACED_CALLS = 25
LEAST_TURNS = 2


@dataclass(frozen=True)
class Contender:
    """Something that answers one call, again and again."""

    name: str
    call: Callable[[], object]


@dataclass(frozen=True)
class Summary:
    """Microseconds over all samples. The p99 is the nearest rank; below 100 samples it is the largest."""

    median_us: float
    p99_us: float
    min_us: float
    samples: int

    @classmethod
    def of(cls, nanoseconds: Sequence[int]) -> Summary:
        ordered = sorted(nanoseconds)
        rank = math.ceil(len(ordered) * 0.99) - 1
        return cls(statistics.median(ordered) / 1e3, ordered[rank] / 1e3, ordered[0] / 1e3, len(ordered))


def timed(call: Callable[[], object], count: int, pause: float = 0.0) -> list[int]:
    """Nanoseconds of each of ``count`` calls, with ``pause`` seconds of sleep before each."""
    clock, samples = time.perf_counter_ns, []
    for _ in range(count):
        if pause:
            time.sleep(pause)
        began = clock()
        call()
        samples.append(clock() - began)
    return samples


def interleaved(
    contenders: Sequence[Contender], warm_up: float, seconds: float, pause: float = 0.0
) -> dict[str, list[int]]:
    """Samples of each contender, by name: warm all up, then let them take turns for ``seconds`` in all.

    Turns are of about equal length, so a quick contender has more samples than a slow one, from the same stretch of
    time. With a ``pause`` between calls all turns have the same number of calls.
    """
    gc.collect()
    turns = {one.name: turn(functools.partial(timed, one.call), warm_up / len(contenders), pause) for one in contenders}
    samples: dict[str, list[int]] = {one.name: [] for one in contenders}
    until = time.monotonic() + seconds
    done = 0
    while done < LEAST_TURNS or time.monotonic() < until:
        for one in contenders:
            count = turns[one.name]
            timed(one.call, uncounted(count), pause)
            samples[one.name] += timed(one.call, count, pause)
        done += 1
    return samples


def uncounted(count: int) -> int:
    """How many calls of a turn come first and are not counted."""
    return 5 if count >= 25 else 1


def turn(take: Callable[[int], list[int]], warm_up: float, pause: float) -> int:
    """Warm a contender up, of which ``take`` takes so many samples, and return how many calls make a turn."""
    until = time.monotonic() + warm_up
    costs = take(2)
    while time.monotonic() < until:
        costs += take(1)
    if pause:
        return _PACED_CALLS
    return max(1, min(_CHUNK_CALLS, int(_CHUNK_NS / statistics.median(costs[-100:]))))
