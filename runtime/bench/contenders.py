"""Who takes part: the model behind isopod, with ordinary arrays and with those in shared memory; the model by itself.

A *turn* is a number of calls one after the other, each timed by itself; the release of its result is part of it.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from isopod.ipc.transfer import as_array
from isopod.runtime.bench.inputs import Size
from isopod.runtime.bench.results import IN_PROCESS, PLACED, PLAIN
from isopod.runtime.model import Model
from isopod.runtime.observe.phases import durations

_TURN = "isopod.turn"  # as in the worker's ``timed``


class Taken(NamedTuple):
    """Nanoseconds of each call, and by call and phase where those are known."""

    samples: list[int]
    spans: np.ndarray[Any, Any] | None = None


class Contender(Protocol):
    """``turn(count, pause)``: so many calls, with seconds of sleep before each."""

    name: str

    def turn(self, count: int, pause: float) -> Taken: ...


class Isopod:
    """Through isopod, as an application does it; ``name`` says what is special about it."""

    def __init__(self, model: Model, size: Size, name: str = PLAIN, *, timeout: float | None) -> None:
        self.name = name
        self._model, self._timeout = model, timeout
        samples = [_placed(model, sample) for sample in size.samples] if name == PLACED else size.samples
        self._samples = itertools.cycle(samples)

    def turn(self, count: int, pause: float) -> Taken:
        model, timeout, samples, clock = self._model, self._timeout, self._samples, time.perf_counter_ns
        taken = []
        for _ in range(count):
            if pause:
                time.sleep(pause)
            inputs = next(samples)
            began = clock()
            model(inputs, timeout=timeout)
            taken.append(clock() - began)
        return Taken(taken, spans_of(model, count))


class InProcess:
    """In a process of its own environment that does nothing else: what the call would cost without isolation."""

    name = IN_PROCESS

    def __init__(self, timed: Model, size: Size, *, timeout: float | None) -> None:
        self._model, self._timeout = timed, timeout
        self._samples = itertools.cycle(size.samples)

    def turn(self, count: int, pause: float) -> Taken:
        timeout = None if self._timeout is None else (self._timeout + pause) * count
        answer = self._model({_TURN: [count, pause], **next(self._samples)}, timeout=timeout)
        return Taken(answer["ns"].tolist())


def able_to_place(size: Size) -> bool:
    """Whether there is any array that can lie in shared memory beforehand; text is packed in each call."""
    return any(_lies(value) for value in size.samples[0].values())


def _placed(model: Model, sample: Mapping[str, Any]) -> dict[str, Any]:
    made = {}
    for name, value in sample.items():
        if _lies(value):
            array = as_array(value)
            assert array is not None
            made[name] = model.empty(name, array.shape, array.dtype)
            made[name][...] = array
        else:
            made[name] = value
    return made


def _lies(value: Any) -> bool:
    array = as_array(value)
    return array is not None and array.dtype.kind not in "USOT"


def spans_of(model: Model, count: int) -> np.ndarray[Any, Any]:
    """Phases of the latest calls, as far as they are kept."""
    kept = model._deployment.counters.marks
    return durations(itertools.islice(reversed(kept), count))


class Together(NamedTuple):
    """What several callers took: nanoseconds of each call, its phases, and from the first start to the last end."""

    samples: list[int]
    spans: np.ndarray[Any, Any]
    elapsed: int


def together(
    model: Model, samples: Sequence[Mapping[str, Any]], callers: int, calls: int, seconds: float, timeout: float | None
) -> Together:
    """Threads that call at once: each makes ``calls`` calls, or as many as it can in ``seconds``, where that is 0.

    Raises what the first of them that failed met.
    """
    gate = threading.Barrier(callers)
    taken: list[list[int]] = [[] for _ in range(callers)]
    moments: list[tuple[int, int]] = []
    failures: list[Exception] = []
    stop = threading.Event()

    def work(number: int) -> None:
        try:
            moments.append(_work(model, samples, number, taken[number], gate, calls, seconds, timeout, stop))
        except threading.BrokenBarrierError:
            pass
        except Exception as error:  # raised below, in the thread that measures
            failures.append(error)
            gate.abort()
            stop.set()

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(callers)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:  # after Ctrl-C
        stop.set()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
    count = sum(map(len, taken))
    begins, ends = zip(*moments, strict=True)
    return Together([ns for one in taken for ns in one], spans_of(model, count), max(ends) - min(begins))


def _work(
    model: Model, samples: Sequence[Mapping[str, Any]], number: int, taken: list[int], gate: threading.Barrier,
    calls: int, seconds: float, timeout: float | None, stop: threading.Event,
) -> tuple[int, int]:  # fmt: skip
    own = itertools.cycle([*samples[number % len(samples) :], *samples[: number % len(samples)]])
    clock: Callable[[], int] = time.perf_counter_ns
    gate.wait()
    start = clock()
    until = start + int(seconds * 1e9)
    now = start
    while not stop.is_set() and (len(taken) < calls if calls else now < until or not taken):
        inputs = next(own)
        began = clock()
        model(inputs, timeout=timeout)
        now = clock()
        taken.append(now - began)
    return start, now
