"""What one call costs: float32 arrays of four sizes, against the same function in process and behind a pipe.

*One out* sends an array and gets one element of it back; isopod's input lies in shared memory already
(``model.empty``). *Two copies* sends an ordinary array and gets a private one of the same size, a copy in and one out.
*No copies* computes the same from ``model.empty`` into ``worker.empty``. *Check* is two copies with a problem: the
input is checked before it is sent, the output when it is there, and that both are of one size. A *chain* is two calls:
``x + 1`` without copies, then one element of what came of it, by a second model that is given the output as it is, or a
copy of it in ordinary memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import isopod
from benchmarks import functions
from benchmarks.effort import Effort
from benchmarks.measure import Contender, interleaved
from benchmarks.peers.yardsticks import PingPong, PipePeer, ping_pong, pipe_peer
from benchmarks.placement import placements
from benchmarks.progress import Progress
from benchmarks.results import Key, Results

NAME, PACED = "round trip", "round trip, paced"
SIZES = {"1 KB": 1 << 10, "64 KB": 1 << 16, "1 MB": 1 << 20, "16 MB": 1 << 24}
PAUSE = 0.001  # seconds between paced calls
_PACED_SIZE = "1 KB"
_FOLDER = Path(__file__).resolve().parent
_PROBLEM = isopod.Problem(
    "plus one",
    inputs=[isopod.Input("x", "float32", ("n",))],
    outputs=[isopod.Output("output", "float32", ("n",))],
    shared=["n"],
)
_OPENING = 3.0  # seconds, about: all children


def planned(effort: Effort) -> float:
    """Seconds that ``run`` will take, about."""
    one = len(SIZES) * (effort.warm_up + effort.seconds) + 2 * effort.warm_up + effort.paced_seconds
    return _OPENING + effort.passes * len(placements()) * one


def run(effort: Effort, results: Results, progress: Progress) -> None:
    progress.step(f"{NAME}: starting the children", _OPENING)
    places = placements()
    try:
        with _open() as company:
            for _ in range(effort.passes):
                for place in places:
                    place.apply(company.pids)
                    for size, nbytes in SIZES.items():
                        progress.step(f"{NAME}, {place}, {size}", effort.warm_up + effort.seconds)
                        samples = interleaved(company.contenders(nbytes), effort.warm_up, effort.seconds)
                        _add(results, NAME, str(place), size, samples)
                    progress.step(f"{PACED}, {place}, {_PACED_SIZE}", 2 * effort.warm_up + effort.paced_seconds)
                    contenders = company.contenders(SIZES[_PACED_SIZE])
                    samples = interleaved(contenders, 2 * effort.warm_up, effort.paced_seconds, PAUSE)
                    _add(results, PACED, str(place), _PACED_SIZE, samples)
    finally:
        places[0].apply(())


def _add(results: Results, benchmark: str, where: str, size: str, samples: dict[str, list[int]]) -> None:
    for name, nanoseconds in samples.items():
        results.add(Key(benchmark, where, size, name), nanoseconds)


@dataclass
class _Company:
    """Everybody who takes part, running."""

    first: isopod.Model
    plus_one: isopod.Model
    checked: isopod.Model
    placed: isopod.Model
    pipe_first: PipePeer
    pipe_plus_one: PipePeer
    semaphores: PingPong
    pids: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        models = [model.health.pid or 0 for model in (self.first, self.plus_one, self.checked, self.placed)]
        self.pids = [*models, self.pipe_first.pid, self.pipe_plus_one.pid, self.semaphores.pid]

    def contenders(self, nbytes: int) -> list[Contender]:
        """One contender a row of the table, each with inputs of its own, and each seen to answer rightly."""
        array = np.arange(nbytes // 4, dtype=np.float32)
        shared = [model.empty("x", array.shape, array.dtype) for model in (self.first, self.placed)]
        for one in shared:
            one[:] = array
        all_of_it = [
            _checked("one out: in process", lambda: functions.first(array), array[:1] + 1),
            _checked("one out: isopod", lambda: self.first(x=shared[0]), array[:1] + 1),
            _checked("one out: pipe", lambda: self.pipe_first(array), array[:1] + 1),
            _checked("x + 1: in process", lambda: functions.plus_one(array), array + 1),
            _checked("x + 1: isopod, no copies", lambda: self.placed(x=shared[1]), array + 1),
            _checked("x + 1: isopod, two copies", lambda: self.plus_one(x=array), array + 1),
            _checked("x + 1: isopod, two copies, check", lambda: self.checked(x=array), array + 1),
            _checked("x + 1: pipe", lambda: self.pipe_plus_one(array), array + 1),
            _checked("chain: isopod, as it is", lambda: self.first(x=self._placed(shared[1])), array[:1] + 2),
            _checked("chain: isopod, copied", lambda: self.first(x=self._placed(shared[1]).copy()), array[:1] + 2),
            _checked("chain: pipe", lambda: self.pipe_first(self.pipe_plus_one(array)), array[:1] + 2),
        ]
        if nbytes == min(SIZES.values()):
            all_of_it.insert(0, Contender("semaphores alone", self.semaphores))
        return all_of_it

    def _placed(self, x: Any) -> Any:
        """What the first link of a chain hands on."""
        return self.placed(x=x).value


def _checked(name: str, call: Callable[[], Any], expected: Any) -> Contender:
    answer = call()
    answer = answer.value if isinstance(answer, isopod.Outputs) else answer
    if not np.array_equal(answer, expected):
        raise AssertionError(f"{name} gives a wrong answer")
    return Contender(name, call)


@contextlib.contextmanager
def _open() -> Iterator[_Company]:
    with contextlib.ExitStack() as stack:
        open_ = stack.enter_context
        yield _Company(
            open_(isopod.load(f"{_FOLDER / 'functions.py'}:first")),
            open_(isopod.load(f"{_FOLDER / 'functions.py'}:plus_one")),
            open_(isopod.load(f"{_FOLDER / 'functions.py'}:plus_one", problem=_PROBLEM)),
            open_(isopod.load(f"{_FOLDER / 'placed.py'}:plus_one")),
            open_(pipe_peer("first")),
            open_(pipe_peer("plus_one")),
            open_(ping_pong()),
        )
