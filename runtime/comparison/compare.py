"""``compare``: implementations of one problem on the same inputs, each in a worker of its own.

First each sample goes once to each of them, and their answers are held against those of the reference, the first. Then
they take turns for a while, in the order A B B A, so that whatever else the machine does hits all alike; the first call
of a turn brings a worker's caches back and is not counted. One that fails is reported, and the others go on.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from isopod.ipc.errors import IsopodError, ModelError, SpecError, WorkerCrashed, WorkerTimeout
from isopod.runtime.calls import check_seconds
from isopod.runtime.comparison.differences import Agreement, outputs_in_order
from isopod.runtime.comparison.results import Comparison, Failure, Implementation, names_for
from isopod.runtime.comparison.samples import Given, Sample, collect
from isopod.runtime.environment import BuildEvent
from isopod.runtime.loading import load
from isopod.runtime.model import Model
from isopod.runtime.problems import Problem, Tolerance
from isopod.runtime.problems.contract import Cast, problem_of
from isopod.runtime.problems.outcome import Outcome

_TURN = 5  # calls that are counted; one more before them is not
_LEAST_ROUNDS = 2
_MOST_FAILURES = 20  # of one implementation that are kept
# (implementation, "start", "answer", "time" or "ready", done, total)
Progress = Callable[[str, str, int, int], None]
_LIMIT = re.compile(r"(?P<number>[0-9.]+(e[+-]?[0-9]+)?)\s*(?P<unit>|abs|rel|ulp)", re.IGNORECASE)


def compare(
    *models: Model | str | os.PathLike[str],
    inputs: Given | Iterable[Given] = (),
    problem: Problem | str | os.PathLike[str] | None = None,
    stacked: bool = False,
    random: int = 0,
    seed: int = 0,
    sizes: Mapping[str, int] | None = None,
    cast: Cast | None = None,
    fail_above: float | str | None = None,
    seconds: float = 5.0,
    timeout: float | None = None,
) -> Comparison:
    """Ask several implementations of one problem the same, and say how far they are apart, how fast, and how large.

    ``models`` are what ``load`` takes, each loaded for this, or models that are loaded already, which stay so; the
    first is the reference. ``inputs`` are a dict of arrays, the path of an ``.npz`` file or of a folder of them, or a
    list of these; ``stacked``: the first axis of each array counts samples. ``random`` more are made from the problem,
    with ``sizes`` for its symbols; the same ``seed`` gives the same.

    ``problem`` (or its TOML file) says how outputs must look, how far they may be apart, and what is filled in for
    inputs that are not given; ``cast`` is that of ``load``. ``fail_above`` is a tolerance for all outputs instead: an
    absolute error, or ``"1e-3 rel"`` or ``"4 ulp"``. ``seconds`` of timing, in all; 0 for none. ``timeout`` of each
    call, in seconds.

    A model that cannot be loaded, crashes, hangs or raises is told of in the result, not by an exception. Raises
    ``SpecError`` for inputs that do not fit the problem. ::

        result = isopod.compare("old.py:Net", "new.py:Net", problem="net.toml", random=20)
        assert result.passed, result.to_dict()
        print(result["new.py:Net"].percentile(99))
    """
    asked = problem_of(problem)
    samples = collect(inputs, asked, stacked=stacked, number=random, seed=seed, sizes=sizes, cast=cast)
    with Comparing(models, samples, problem=asked, limit=limit_of(fail_above), seconds=seconds, timeout=timeout) as run:
        run.run()
        return run.result


class Comparing:
    """One comparison under way: ``result`` is whatever there is, at any time. Closes what it loaded.

    ``build_listener(name)`` is what hears of the build of an environment.
    """

    def __init__(
        self,
        models: Sequence[Model | str | os.PathLike[str]],
        samples: Sequence[Sample],
        *,
        problem: Problem | None = None,
        limit: Tolerance | None = None,
        seconds: float = 5.0,
        timeout: float | None = None,
        progress: Progress = lambda *_: None,
        build_listener: Callable[[str], Callable[[BuildEvent], None] | None] = lambda _: None,
    ) -> None:
        if len(models) < 2:
            raise SpecError(f"a comparison needs two models or more, not {len(models)}")
        check_seconds(seconds, "seconds", zero=True)
        if timeout is not None:
            check_seconds(timeout, "timeout")
        targets = [one.name if isinstance(one, Model) else os.fspath(one) for one in models]
        made = [Implementation(*pair) for pair in zip(names_for(targets), targets, strict=True)]
        self.result = Comparison(str(problem or ""), made, len(samples), complete=False)
        self._given = list(zip(made, models, strict=True))
        self._samples, self._problem, self._limit = samples, problem, limit
        self._seconds, self._timeout = seconds, timeout
        self.progress, self.build_listener = progress, build_listener
        self._live: list[tuple[Implementation, Model]] = []
        self._answered: dict[str, list[int]] = {}  # by name: the numbers of the samples that it answered
        self._loaded = contextlib.ExitStack()

    def __enter__(self) -> Comparing:
        return self

    def __exit__(self, *_: object) -> None:
        for one, model in self._live:
            self._weigh(one, model)
        self._loaded.close()

    def run(self) -> None:
        """All of it. What interrupts it leaves ``result`` as far as it came."""
        for one, model in self._given:
            self._load(one, model)
        if self._live:
            self.result.reference = self._live[0][0].name
        self._ask()
        self._time()
        self.result.complete = True

    # ------------------------------------------------------------------ loading

    def _load(self, one: Implementation, model: Model | str | os.PathLike[str]) -> None:
        self.progress(one.name, "start", 0, 1)
        if not isinstance(model, Model):
            try:
                # not checked by itself: an answer against the problem is to be compared, too
                listener = self.build_listener(one.name)
                model = load(model, name=one.name, problem=self._problem, check=False, on_event=listener)
            except IsopodError as error:
                self._fail(one, "", error, "not loaded")
                return
            self._loaded.enter_context(model)
        one.start_seconds = model.stats().start_seconds
        self._live.append((one, model))

    # ------------------------------------------------------------------ answers

    def _ask(self) -> None:
        outcomes = {
            one.name: None if self._problem is None else Outcome(one.name, self._problem) for one, _ in self._live
        }
        for number, sample in enumerate(self._samples):
            answers: list[tuple[Implementation, Mapping[str, Any]]] = []
            for one, model in self._live:
                self.progress(one.name, "answer", number, len(self._samples))
                answer = self._call(one, model, sample)
                if answer is None:
                    continue
                one.answered += 1
                self._answered.setdefault(one.name, []).append(number)
                self._weigh(one, model)
                answers.append((one, answer))
                outcome = outcomes[one.name]
                error = None if outcome is None else outcome.of(sample.inputs)(answer)
                if error is not None:
                    self._fail(one, sample.name, error, "broke the problem")
            if answers and answers[0][0].name == self.result.reference:
                self._hold_against(sample, answers[0][1], answers[1:])

    def _hold_against(
        self, sample: Sample, reference: Mapping[str, Any], others: list[tuple[Implementation, Mapping[str, Any]]]
    ) -> None:
        for one, answer in others:
            for name in outputs_in_order([reference, answer]):
                agreement = self._agreement(one, name)
                if name not in reference or name not in answer:
                    agreement.missing(one.name if name in reference else self.result.reference)
                else:
                    agreement.add(sample.name, reference[name], answer[name])

    def _agreement(self, one: Implementation, output: str) -> Agreement:
        for agreement in one.agreements:
            if agreement.output == output:
                return agreement
        declared = {field.name: field.tolerance for field in self._problem.outputs} if self._problem else {}
        one.agreements.append(Agreement(output, self._limit or declared.get(output)))
        return one.agreements[-1]

    def _call(self, one: Implementation, model: Model, sample: Sample) -> Mapping[str, Any] | None:
        try:
            return model(sample.inputs, timeout=self._timeout)
        except IsopodError as error:
            self._fail(one, sample.name, error, _what(error))
            return None

    @staticmethod
    def _fail(one: Implementation, sample: str, error: IsopodError, what: str) -> None:
        if len(one.failures) < _MOST_FAILURES:
            one.failures.append(Failure(sample, what, str(error)))

    # ------------------------------------------------------------------ timing

    def _time(self) -> None:
        """Turns until the time is over, forth and back, so that each has been before and after each other one."""
        able, samples = self._able()
        if not samples or not self._seconds:
            return
        turns = [(one, model, itertools.cycle(samples)) for one, model in able]
        for turn in turns:  # warm up
            self._take_turn(*turn, count=False)
        began, rounds = time.monotonic(), 0
        while rounds < _LEAST_ROUNDS or time.monotonic() - began < self._seconds:
            done = min(99, int((time.monotonic() - began) / self._seconds * 100))
            for turn in turns if rounds % 2 == 0 else reversed(turns):
                self.progress(turn[0].name, "time", done, 100)
                if not self._take_turn(*turn):
                    turns = [other for other in turns if other[0] is not turn[0]]
            rounds += 1
            if not turns:
                return
        for one, *_ in turns:
            self.progress(one.name, "ready", 1, 1)

    def _able(self) -> tuple[list[tuple[Implementation, Model]], list[Sample]]:
        """Who can be timed, and with which samples: those that all of them answered. Who answered least is left out
        until there are some.
        """
        able = [pair for pair in self._live if pair[0].answered]
        while able:
            common = set.intersection(*(set(self._answered[one.name]) for one, _ in able))
            if common:
                return able, [self._samples[number] for number in sorted(common)]
            able.remove(min(able, key=lambda pair: pair[0].answered))
        return [], []

    def _take_turn(self, one: Implementation, model: Model, samples: Any, *, count: bool = True) -> bool:
        clock = time.perf_counter_ns
        sample = next(samples)
        for number in range(_TURN + 1):
            if number > 1:  # the first one twice: once to bring the caches back
                sample = next(samples)
            began = clock()
            answer = self._call(one, model, sample)
            took = clock() - began
            if answer is None:
                return False
            if count and number:
                one.latencies.append(took)
        return True

    # ------------------------------------------------------------------ memory

    @staticmethod
    def _weigh(one: Implementation, model: Model) -> None:
        """Where its worker is just being replaced, what was seen before stays."""
        pids = [worker.pid for worker in model.health.workers]
        one.rss = sum(_status(pid, "VmRSS") for pid in pids) or one.rss
        one.peak_rss = max(one.peak_rss, sum(_status(pid, "VmHWM") for pid in pids))


def limit_of(text: float | str | None) -> Tolerance | None:
    """A tolerance from one number: an absolute error, or ``"1e-3 rel"``, ``"4 ulp"``. Raises ``SpecError``."""
    if text is None:
        return None
    found = _LIMIT.fullmatch(str(text).strip())
    try:
        number = float(found["number"]) if found else -1.0
    except ValueError:
        number = -1.0
    if found is None or number < 0:
        raise SpecError(f"a threshold is a number such as 1e-5, '1e-3 rel' or '4 ulp', not {text!r}")
    unit = found["unit"].lower()
    if unit == "ulp":
        return Tolerance(ulp=int(number))
    return Tolerance(rtol=number) if unit == "rel" else Tolerance(atol=number)


def _what(error: IsopodError) -> str:
    kinds = ((WorkerCrashed, "crashed"), (WorkerTimeout, "timed out"), (ModelError, "raised"), (SpecError, "refused"))
    return next((what for kind, what in kinds if isinstance(error, kind)), type(error).__name__)


def _status(pid: int, key: str) -> int:
    """Bytes, as the kernel has it; 0 for a process that is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    found = re.search(rf"^{key}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
