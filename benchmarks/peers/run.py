"""The run: all peers are started, take turns cell by cell, and are killed at the end, one after the other.

A *cell* is a function and a size. Turns are of about equal length, as in ``measure.interleaved``, so that whatever else
the machine does hits all alike. A peer that fails leaves the run with its reason; the others go on.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.measure import LEAST_TURNS, Summary
from benchmarks.peers import conductor, leftovers
from benchmarks.peers.conductor import Death, Driver, Failure
from benchmarks.peers.roster import Entry
from benchmarks.progress import Progress
from isopod.runtime.environment import Prepared

SIZES = {"1 KB": 1 << 10, "64 KB": 1 << 16, "1 MB": 1 << 20, "16 MB": 1 << 24}
PAUSE = 0.001  # seconds between paced calls
_START = 3.0  # seconds, about, to start one
_KILL = 9.0  # seconds, about, to kill one


@dataclass(frozen=True)
class Cell:
    """A column of the table."""

    function: str
    size: str
    pause: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.size} {'small' if self.function == 'first' else 'full'}" + (", paced" if self.pause else "")


CELLS = (
    *(Cell(function, size) for function in ("first", "plus_one") for size in SIZES),
    Cell("first", "1 KB", PAUSE),
)


@dataclass
class Row:
    """What is known of a peer."""

    name: str
    group: str
    version: str = ""
    seconds: float | None = None  # to the first answer
    figures: dict[str, Summary] = field(default_factory=dict)  # by the names of cells
    death: Death | None = None
    reason: str | None = None  # why it does not take part, or no longer


@dataclass(frozen=True)
class Effort:
    """``passes`` over all cells; seconds for each of them, and of that for warming up, for each peer."""

    passes: int
    seconds: float
    warm_up: float


FULL = Effort(passes=2, seconds=0.35, warm_up=0.1)
QUICK = Effort(passes=1, seconds=0.05, warm_up=0.02)


class Run:
    """Measures into ``rows``, in which there is, when it is interrupted, what was seen until then."""

    def __init__(self, entries: Sequence[Entry], cells: Sequence[Cell], effort: Effort, *, kills: bool = True) -> None:
        self.rows = [Row(entry.name, entry.group) for entry in entries]
        self._entries = {entry.name: entry for entry in entries}
        self._cells, self._effort = cells, effort
        self._samples: dict[tuple[str, str], list[int]] = {}
        self._victims = [row for row in self.rows if kills and self._entries[row.name].mortal]
        self._environments: dict[str, Prepared] = {}
        self._drivers: dict[str, Driver] = {}
        one = effort.passes * len(cells) * (effort.seconds + effort.warm_up) + _START
        self._progress = Progress(len(entries) * one + len(self._victims) * _KILL)

    def __call__(self) -> None:
        with leftovers.Household() as household:
            try:
                try:
                    self._measure()
                finally:  # Ctrl-C: nobody waits for their good manners
                    household.clear()
                    self._sweep()
                for row in self._victims:
                    if row.reason is None:
                        self._progress.step(f"{row.name}: killed in mid-call", _KILL)
                        with self._told(row):
                            row.death = conductor.kill(self._entries[row.name], self._environments[row.name], household)
            finally:
                self._progress.clear()
                for environment in self._environments.values():
                    if environment.hold is not None:
                        environment.hold.release()

    def _measure(self) -> None:
        for row in self.rows:
            self._progress.step(f"{row.name}: starting (the first time its environment is built)", _START)
            with self._told(row):
                self._start(row)
        for _ in range(self._effort.passes):
            for cell in self._cells:
                self._measure_cell(cell)
        for driver in self._drivers.values():
            driver.stop()

    def _sweep(self) -> None:
        while self._drivers:
            driver = self._drivers.popitem()[1]
            driver.abandon()
            driver.traces.clear()

    def _start(self, row: Row) -> None:
        entry = self._entries[row.name]
        environment = self._environments[entry.name] = conductor.environment_of(entry)
        driver = self._drivers[entry.name] = Driver(entry, environment)
        started = driver.ask("start", shows=entry.shows)
        row.seconds, row.version = started["seconds"], started["version"]

    def _measure_cell(self, cell: Cell) -> None:
        rows = [
            row for row in self.rows if row.reason is None and self._entries[row.name].has(cell.function, cell.size)
        ]
        turns: dict[str, int] = {}
        seconds = self._effort.seconds * len(rows)
        self._progress.step(cell.name, seconds + self._effort.warm_up * len(rows))
        for row in rows:
            with self._told(row):
                driver = self._drivers[row.name]
                driver.ask("prepare", function=cell.function, nbytes=SIZES[cell.size])
                turns[row.name] = driver.ask("warm", seconds=self._effort.warm_up, pause=cell.pause)["count"]
        until, done = time.monotonic() + seconds, 0
        while done < LEAST_TURNS or time.monotonic() < until:
            for row in rows:
                if row.reason is None:
                    with self._told(row):
                        taken = self._drivers[row.name].ask("turn", count=turns[row.name], pause=cell.pause)
                        self._samples.setdefault((row.name, cell.name), []).extend(taken["samples"])
            done += 1
        for row in rows:
            if (row.name, cell.name) in self._samples:
                row.figures[cell.name] = Summary.of(self._samples[row.name, cell.name])

    @contextlib.contextmanager
    def _told(self, row: Row) -> Iterator[None]:
        """A failure is the row's own affair; the others do not wait for it, nor beside it."""
        try:
            yield
        except Failure as failure:
            row.reason = str(failure)
            if row.name in self._drivers:
                self._drivers[row.name].abandon()
