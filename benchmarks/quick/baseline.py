"""The baseline: figures that were measured once, and how far today's may be from them before they have moved.

All figures are better when they are smaller. A ratio's tolerance is learnt from the spread of both runs.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RATIO, COUNT = "ratio", "count"
# What is left when nothing has changed: of counts, the collector's turns and the hashes of names; of ratios, where in
# memory things have come to lie in this run.
_FLOOR = {RATIO: 0.05, COUNT: 0.01}


@dataclass(frozen=True)
class Figure:
    """``spread`` is the interquartile range of what ``value`` is the median of, in the same unit."""

    kind: str
    value: float
    spread: float = 0.0

    @classmethod
    def of(cls, kind: str, values: Sequence[float]) -> Figure:
        low, median, high = statistics.quantiles(values, n=4)
        return cls(kind, median, high - low)


@dataclass(frozen=True)
class Baseline:
    """``counted_on`` is what counts depend on: they are compared only where it is the same."""

    machine: Mapping[str, str]
    counted_on: str
    figures: Mapping[str, Figure]

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Baseline:
        read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        figures = {name: Figure(**figure) for name, figure in read["figures"].items()}
        return cls(read["machine"], read["counted_on"], figures)


@dataclass(frozen=True)
class Verdict:
    """``change`` and ``tolerance`` are shares of the baseline's value; None where there is nothing to compare."""

    name: str
    now: Figure | None
    then: Figure | None
    change: float | None = None
    tolerance: float | None = None

    @property
    def word(self) -> str:
        if self.now is None:
            return "not measured"
        if self.then is None:
            return "new"
        if self.change is None or self.tolerance is None:
            return "not compared"
        if abs(self.change) <= self.tolerance:
            return "as before"
        return "worse" if self.change > 0 else "better"


def compare(then: Baseline, now: Baseline) -> list[Verdict]:
    """A verdict for each figure that either of them has."""
    names = list(dict.fromkeys([*now.figures, *then.figures]))
    return [_judge(name, then, now) for name in names]


def _judge(name: str, then: Baseline, now: Baseline) -> Verdict:
    before, today = then.figures.get(name), now.figures.get(name)
    if before is None or today is None:
        return Verdict(name, today, before)
    if today.kind == COUNT and then.counted_on != now.counted_on:
        return Verdict(name, today, before)
    # Half of it was tried, and told of a change where there was only another neighbourhood.
    learnt = (before.spread + today.spread) / before.value
    return Verdict(name, today, before, today.value / before.value - 1, max(_FLOOR[today.kind], learnt))
