"""``bench``: what calls of a model cost here, by size, paced, and from several callers, and where their time goes.

Who is compared takes turns in the order A B C C B A, in turns of about 20 ms, so that whatever else the machine does
hits all alike; the first calls of a turn bring caches and the scheduler back to it and are not counted. All sizes are
gone through twice, so that a slow drift shows in all of them.
"""

from __future__ import annotations

import contextlib
import gc
import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from isopod.ipc.errors import IsopodError, SpecError
from isopod.runtime.bench import machine
from isopod.runtime.bench.contenders import Contender, InProcess, Isopod, able_to_place, together
from isopod.runtime.bench.inputs import Size, Wish, inputs_for, named
from isopod.runtime.bench.results import ELSEWHERE, PLACED, PLAIN, Benchmark, Kind, Series
from isopod.runtime.calls import check_seconds
from isopod.runtime.comparison.samples import Given
from isopod.runtime.environment import BuildEvent
from isopod.runtime.loading import elsewhere, load, timed
from isopod.runtime.model import Model
from isopod.runtime.placement import Placement
from isopod.runtime.problems import Input, Problem
from isopod.runtime.problems.contract import problem_of

_TURN_NS = 20_000_000  # a turn's length, about
_MOST_CALLS, _PACED_CALLS = 400, 25  # of a turn
_SLOW_NS = 100_000_000  # a call that caches make no difference to
_PASSES = 2
_ROUND = 0.25  # seconds that callers call at once, about
_WARM_UP = 0.1  # seconds for each contender and size, about
_BUSY = 0.2  # of the processor time that went to others
# Shares of the time.
_SIZES, _PACED, _CALLERS = 0.5, 0.2, 0.3
Progress = Callable[[str, int, int], None]  # what is measured, done, total


@dataclass(frozen=True)
class Plan:
    """How much is measured: ``seconds`` in all, or ``calls`` of each kind where that is given.

    ``callers`` are the numbers of threads that call at once, ``pace`` the seconds of sleep before a paced call (0: none
    are made). ``in_process``: the model is loaded a second time, to be timed in its own process; ``placements``: twice
    more, with a worker on the caller's core, and on another one. ``timeout`` of each call, in seconds. Raises
    ``SpecError``.
    """

    seconds: float = 10.0
    calls: int | None = None
    callers: Sequence[int] = (1, 2, 4)
    pace: float = 0.001
    in_process: bool = True
    timeout: float | None = None
    placements: bool = False

    def __post_init__(self) -> None:
        check_seconds(self.seconds, "seconds")
        check_seconds(self.pace, "pace", zero=True)
        if self.timeout is not None:
            check_seconds(self.timeout, "timeout")
        if self.calls is not None and not 1 <= self.calls <= 10_000_000:
            raise SpecError(f"calls is a number of calls, 1 or more, not {self.calls!r}")
        if not all(1 <= number <= 256 for number in self.callers):
            raise SpecError(f"callers are numbers of threads, from 1 to 256, not {self.callers!r}")


def bench(
    model: Model | str | os.PathLike[str],
    inputs: Given | Iterable[Given] = (),
    *,
    problem: Problem | str | os.PathLike[str] | None = None,
    described: Sequence[Input] = (),
    random: int = 0,
    seed: int = 0,
    sizes: Mapping[str, Sequence[int]] | None = None,
    seconds: float = 10.0,
    calls: int | None = None,
    callers: Sequence[int] = (1, 2, 4),
    pace: float = 0.001,
    in_process: bool = True,
    timeout: float | None = None,
    placements: bool = False,
) -> Benchmark:
    """Measure what calls of a model cost on this machine, beside the same model in a process of its own environment.

    ``model`` is what ``load`` takes, loaded for this, or a model that is loaded already, which stays so. ``inputs`` are
    a dict of arrays, the path of an ``.npz`` file or a folder of them, or a list of these. Without any, ``random``
    samples are made after a ``problem``, after ``described`` inputs, or after what the model declares; the examples of
    a pod come before the last. ``sizes`` of symbols are those of random ones; one symbol may have several. The same
    ``seed`` makes the same.

    ``seconds`` of measuring in all, or ``calls`` of each kind. ``callers`` are numbers of threads, ``pace`` the seconds
    between paced calls, ``timeout`` the seconds that each call may take. ``in_process=False`` spares loading the model
    a second time; ``placements=True`` loads it twice more, to compare where workers run (``load(placement=)``).

    Raises ``SpecError``, and what ``load`` and the model raise. ::

        result = isopod.bench("net.onnx", sizes={"batch": [1, 8, 64]})
        result.report("net.html")
        print(result.to_dict()["series"][0]["p50_us"])
    """
    wish = Wish(inputs, problem_of(problem), described, random, seed, sizes)
    plan = Plan(seconds, calls, tuple(callers), pace, in_process, timeout, placements)
    with Benching(model, wish, plan) as run:
        run.run()
        return run.result


@dataclass
class Benching:
    """One benchmark under way: ``result`` is whatever there is, at any time. Closes what it loaded.

    ``options`` are those of ``load``. ``listener`` hears of the build of an environment.
    """

    given: Model | str | os.PathLike[str]
    wish: Wish
    plan: Plan
    options: Mapping[str, Any] = field(default_factory=dict)
    progress: Progress = lambda *_: None
    listener: Callable[[BuildEvent], None] | None = None

    def __post_init__(self) -> None:
        target = None if isinstance(self.given, Model) else self.given
        self.result = Benchmark(self.given.name if isinstance(self.given, Model) else named(self.given))
        self._target = target
        self._loaded = contextlib.ExitStack()
        self._elsewhere: dict[Placement, Model] = {}
        self._doing, self._done, self._steps = "start", 0, 1
        self._before = machine.Load.now()

    def __enter__(self) -> Benching:
        return self

    def __exit__(self, *_: object) -> None:
        self._loaded.close()

    def run(self) -> None:
        """All of it. What interrupts it leaves ``result`` as far as it came."""
        self.result.facts = machine.facts()
        try:
            model = self._model()
            sizes = inputs_for(model, self._target, self.wish)
            self._describe(model, sizes)
            twin = self._twin(model)
            self._load_elsewhere(model)
            steps = _PASSES * len(sizes) + bool(self.plan.pace) + bool(self.plan.callers)
            self._done, self._steps = -1, steps
            self._by_size(model, twin, sizes)
            if self.plan.pace:
                self._paced(model, twin, sizes[0])
            self._callers(model, sizes[0])
            self.result.complete = True
        finally:
            self._loaded.close()  # what a worker used is ours only once it has ended
            self._note_load()

    def _note_load(self) -> None:
        now = machine.Load.now()
        self.result.facts.update(now.since(self._before))
        share = sum(now.shares_since(self._before))
        if share > _BUSY and self._target is not None:  # a model that was loaded before has workers that go on
            self.result.notes.append(
                f"This machine was busy with other things, {share:.0%} of its time: measure again when it is not"
            )

    # ------------------------------------------------------------------ who takes part

    def _model(self) -> Model:
        self.progress("start", 0, 1)
        if isinstance(self.given, Model):
            return self.given
        problem = self.wish.problem
        model = load(self.given, problem=problem, on_event=self.listener, **self.options)
        return self._loaded.enter_context(model)

    def _twin(self, model: Model) -> Model | None:
        if not self.plan.in_process:
            return None
        self.progress("start", 0, 1)
        try:
            return self._loaded.enter_context(timed(model))
        except IsopodError as error:
            self.result.notes.append(f"it could not be loaded a second time, to be timed in its own process: {error}")
            return None

    def _load_elsewhere(self, model: Model) -> None:
        for placement in ELSEWHERE if self.plan.placements else ():
            self.progress("start", 0, 1)
            self._elsewhere[placement] = self._loaded.enter_context(elsewhere(model, placement))

    def _describe(self, model: Model, sizes: Sequence[Size]) -> None:
        origin = model._deployment.origin
        self.result.model = {
            "target": model.name if self._target is None else os.fspath(self._target),
            "python": origin.python,
            "environment": origin.environment,
        }
        self.result.inputs = {size.label: size.shapes for size in sizes}
        self.result.pace = self.plan.pace

    def _contenders(self, model: Model, twin: Model | None, size: Size) -> list[Contender]:
        timeout = self.plan.timeout
        found: list[Contender] = [] if twin is None else [InProcess(twin, size, timeout=timeout)]
        found.append(Isopod(model, size, timeout=timeout))
        if able_to_place(size):
            found.append(Isopod(model, size, PLACED, timeout=timeout))
        found += [Isopod(other, size, ELSEWHERE[name], timeout=timeout) for name, other in self._elsewhere.items()]
        return found

    # ------------------------------------------------------------------ what is measured

    def _by_size(self, model: Model, twin: Model | None, sizes: Sequence[Size]) -> None:
        share = self.plan.seconds * _SIZES / len(sizes) / _PASSES
        for passed in range(_PASSES):
            for size in sizes:
                self._step(f"back to back, {size.label}")
                wanted = None if self.plan.calls is None else -(-self.plan.calls * (passed + 1) // _PASSES)
                self._take_turns("back to back", self._contenders(model, twin, size), size, share, 0.0, wanted)

    def _paced(self, model: Model, twin: Model | None, size: Size) -> None:
        self._step(f"paced, {size.label}")
        contenders = self._contenders(model, twin, size)
        share = self.plan.seconds * _PACED
        self._take_turns("paced", contenders, size, share, self.plan.pace, self.plan.calls)

    def _take_turns(
        self, kind: Kind, contenders: Sequence[Contender], size: Size, seconds: float, pause: float, wanted: int | None
    ) -> None:
        gc.collect()
        turns = [(one, _turn(one, pause)) for one in contenders]
        series = {one.name: self._series(kind, one.name, size) for one in contenders}
        began, done = time.monotonic(), 0.0
        forth = True
        while done < 1.0:
            for one, turn in turns if forth else reversed(turns):
                into = series[one.name]
                count = turn.calls if wanted is None else min(turn.calls, wanted - len(into.samples))
                if count > 0:
                    if turn.before:
                        one.turn(turn.before, pause)
                    into.add(*one.turn(count, pause))
            forth = not forth
            if wanted is None:
                done = (time.monotonic() - began) / seconds
            else:
                done = min(len(one.samples) for one in series.values()) / wanted
            self._tell(done)

    def _callers(self, model: Model, size: Size) -> None:
        """All numbers of callers in turn, in short rounds: each has a share of every stretch of the time."""
        numbers = list(dict.fromkeys(self.plan.callers))
        if not numbers:
            return
        share = self.plan.seconds * _CALLERS
        rounds = 1 if self.plan.calls else max(2, round(share / (_ROUND * len(numbers))))
        series = {number: self._series("callers", PLAIN, size, number) for number in numbers}
        self._step(f"callers at once, {size.label}")
        for turn in range(rounds):
            order = numbers if turn % 2 == 0 else numbers[::-1]
            for position, number in enumerate(order):
                self._tell((turn + position / len(numbers)) / rounds)
                calls = -(-(self.plan.calls or 0) // number)
                length = share / rounds / len(numbers)
                taken = together(model, size.samples, number, calls, length, self.plan.timeout)
                series[number].add(taken.samples, taken.spans)
                series[number].elapsed += taken.elapsed

    def _series(self, kind: Kind, who: str, size: Size, callers: int = 1) -> Series:
        for one in self.result.series:
            if (one.kind, one.who, one.size, one.callers) == (kind, who, size.label, callers):
                return one
        made = Series(kind, who, size.label, size.nbytes, callers)
        self.result.series.append(made)
        return made

    def _step(self, what: str) -> None:
        self._doing = what
        self._done += 1
        self._tell(0.0)

    def _tell(self, share: float) -> None:
        self.progress(self._doing, int((self._done + min(share, 1.0)) * 100), self._steps * 100)


class _Turn(NamedTuple):
    """How many calls make a turn, and how many more go before it, which are not counted."""

    calls: int
    before: int


def _turn(one: Contender, pause: float) -> _Turn:
    """Warm a contender up, and see how long its turns should be. A slow model is asked once, and needs no more."""
    until = time.monotonic() + _WARM_UP
    costs = one.turn(1, 0.0).samples
    while time.monotonic() < until:
        costs = one.turn(5 if costs[-1] < 1_000_000 else 1, 0.0).samples
    typical = statistics.median(costs)
    if typical > _SLOW_NS:
        return _Turn(1, 0)
    calls = _PACED_CALLS if pause else max(1, min(_MOST_CALLS, int(_TURN_NS / typical)))
    return _Turn(calls, 5 if calls >= 25 else 1)
