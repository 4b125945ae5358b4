"""The soak: everybody who calls and everybody who harms, from the first load to the last close."""

from __future__ import annotations

import faulthandler
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import census
import numpy as np

import isopod
from stress import subjects
from stress.applications import ApplicationKills
from stress.callers import KINDS, Caller
from stress.fire import Killer, Reloader
from stress.flatness import Flatness, quiet
from stress.ledger import Ledger
from stress.subjects import Subject

_OVERDUE = 60.0  # seconds: no deadline and no stop is as long, so such a call hangs
_SETTLING = 5.0  # seconds for what is ending or starting when all is quiet
_FAREWELL = 30.0  # seconds for callers and harms to end
_NAMES = ("plain", "moody", "keeper", "steady")
_UP_AGAIN = 100  # attempts to have an answer of a model while it is still being killed


@dataclass(frozen=True)
class Effort:
    """How much of it: pauses are the mean seconds between two harms, ``samples`` how often all is quiet."""

    calls: int
    seconds: float | None
    largest: int
    kill_pause: float
    application_pause: float
    first_and_last: int  # applications that are killed before and after
    samples: int


class Stuck(Exception):
    """Something hangs: there is no use in waiting."""


class Soak:
    """One run. ``ledger``, ``flatness`` and the harms hold what there is to report, at any moment."""

    def __init__(self, effort: Effort, seed: str, options: dict[str, int], tell: Callable[[str, float], None]) -> None:
        self.effort = effort
        self.ledger = Ledger(effort.calls, None)
        self.subjects: list[Subject] = []
        self.callers: list[Caller] = []
        self.flatness: Flatness | None = None
        self.killer = Killer(self.ledger, (), effort.kill_pause, seed)
        self.reloader = Reloader(self.ledger, effort.largest, seed)
        self.applications = ApplicationKills(self.ledger, effort.application_pause, seed)
        self.seconds = 0.0  # of traffic
        self.restarts: Counter[str] = Counter()
        self._seed = seed
        self._options = options
        self._tell = tell
        self._threads: list[threading.Thread] = []

    def run(self) -> None:
        """All of it. Raises ``Stuck`` where something hangs."""
        before = census.take()
        with census.supervisor_at_rest():
            self._kill_applications()
            self.subjects += [subjects.load(name, **self._options) for name in _NAMES]
            self.flatness = Flatness(self.subjects, self._spares())
            self.killer.targets += [one for one in self.subjects if one.under_fire]
            try:
                self._traffic()
                self._kill_applications()
            finally:
                for one in self.subjects:
                    self.restarts[one.name] = one.model.stats().restarts
                    one.model.close()
        self.ledger.settle()
        for line in [*census.left_over(before), *self.flatness.violations()]:
            self.ledger.violate(line)

    def _spares(self) -> int:
        """Workers beyond the first of each model."""
        each = max(0, self._options.get("workers", 0) - 1) + self._options.get("standby", 0)
        return each * sum(one.under_fire for one in self.subjects)

    def _kill_applications(self) -> None:
        for number in range(self.effort.first_and_last):
            self._tell(f"applications that are killed, {number + 1} of {self.effort.first_and_last}", 0.0)
            self.applications.kill_one()

    # ------------------------------------------------------------------ traffic

    def _traffic(self) -> None:
        effort, seed = self.effort, self._seed
        self.callers += [
            kind(self.ledger, self.subjects, effort.largest, f"{seed}/{number}") for number, kind in enumerate(KINDS)
        ]
        if effort.seconds is not None:
            self.ledger.ends_at = time.monotonic() + effort.seconds
        began = time.monotonic()
        callers = [self._start(one.run) for one in self.callers] + [self._start(self.reloader.run)]
        harms = [self._start(self.killer.run), self._start(self.applications.run)]
        try:
            taken = 0
            while alive := [one for one in callers if one.is_alive()]:
                alive[0].join(0.5)
                self.seconds = time.monotonic() - began
                self._watch()
                if self._done() * effort.samples >= taken + 1 and not self.ledger.over:
                    taken += 1
                    self._sample(len(callers))
                self._tell_progress()
        finally:
            self.ledger.end()
            self.killer.stop()
            self.applications.stop()
            until = time.monotonic() + _FAREWELL
            for thread in (*callers, *harms):  # after Ctrl-C too: before their models are closed
                thread.join(max(0.0, until - time.monotonic()))
        for thread in (*callers, *harms):
            if thread.is_alive():
                raise Stuck(f"{thread.name} does not end")
        self.seconds = time.monotonic() - began
        self._sample(0)

    def _start(self, run: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=run, name=f"soak-{run.__self__.__class__.__name__}", daemon=True)  # type: ignore[attr-defined]
        thread.start()
        return thread

    def _done(self) -> float:
        """Which share of the work."""
        share = self.ledger.closed / self.effort.calls
        return max(share, self.seconds / self.effort.seconds) if self.effort.seconds else share

    def _tell_progress(self) -> None:
        done = max(self._done(), 1e-9)
        said = (
            f"{self.ledger.closed:,} calls, {sum(self.killer.kills.values())} kills, {self.ledger.violated} violations"
        )
        self._tell(said, self.seconds / done - self.seconds)

    def _watch(self) -> None:
        overdue = self.ledger.overdue(_OVERDUE)
        if overdue:
            self._stuck(overdue)

    def _stuck(self, what: list[str]) -> None:
        faulthandler.dump_traceback(sys.stderr, all_threads=True)
        for line in what:
            self.ledger.violate(line)
        raise Stuck("something hangs: " + "; ".join(what[:3]))

    # ------------------------------------------------------------------ quiet

    def _sample(self, callers: int) -> None:
        assert self.flatness is not None
        if not self.ledger.pause(_OVERDUE, callers):
            self._stuck(self.ledger.overdue(0.0) or ["a caller does not come to rest"])
        try:
            with self.killer.striking, self.applications.running:
                for one in self.subjects:
                    self._wake(one)
                quiet(_SETTLING, len(self.subjects) + self._spares())
                self.flatness.sample()
        finally:
            self.ledger.resume()

    def _wake(self, subject: Subject) -> None:
        """Have its workers up, with their dispatchers, and with nothing kept in them."""
        x = np.zeros(1)
        requests: list[dict[str, Any]] = [{"number": 0, "x": x}] * 2
        if subject.name in ("keeper", "steady"):
            requests.insert(0, {"number": 0, "way": "forget"})
        for _ in range(_UP_AGAIN):
            try:
                for inputs in requests:
                    # So many at once that each of several workers gets some: calls go to the one with the fewest.
                    futures = [subject.model.submit(inputs) for _ in range(2 * len(subject.model.health.workers))]
                    for future in futures:
                        future.result(_OVERDUE)
            except isopod.WorkerError:
                continue  # killed just before: it comes again
            return
        self.ledger.violate(f"{subject.name} does not come to rest")
