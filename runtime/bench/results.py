"""What came out of a benchmark: samples by series, their percentiles, and all of it as JSON."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from isopod.runtime.observe.phases import NAMES
from isopod.runtime.placement import Placement

SCHEMA = 1  # of ``to_dict``: raised when a key goes away or changes its meaning, not when one is added
PERCENTILES = (50, 90, 99)
IN_PROCESS, PLAIN, PLACED = "in process", "isopod", "isopod, empty()"
ELSEWHERE: dict[Placement, str] = {"latency": "isopod, latency", "throughput": "isopod, throughput"}
Kind = Literal["back to back", "paced", "callers"]


@dataclass
class Series:
    """Calls of one kind, to one contender (``who``), with inputs of one size.

    ``samples`` are nanoseconds, as the caller saw each call; ``spans`` nanoseconds by call and phase, where the call
    went through isopod (of the latest calls of each turn, if there were very many). ``elapsed`` nanoseconds is how long
    ``callers`` together took for all of them.
    """

    kind: Kind
    who: str
    size: str
    nbytes: int
    callers: int = 1
    samples: list[int] = field(default_factory=list, repr=False)
    spans: list[np.ndarray[Any, Any]] = field(default_factory=list, repr=False)
    elapsed: int = 0

    def add(self, samples: Sequence[int], spans: np.ndarray[Any, Any] | None = None) -> None:
        self.samples += samples
        if spans is not None:
            self.spans.append(spans)

    def percentile(self, percent: float) -> float:
        """Of the samples, in microseconds, the nearest rank. Raises ``IndexError`` where there are none."""
        ordered = sorted(self.samples)
        return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] / 1e3

    @property
    def rate(self) -> float:
        """Calls a second."""
        return len(self.samples) / self.elapsed * 1e9 if self.elapsed else 0.0

    def typical(self) -> dict[str, float]:
        """Microseconds by phase of a typical call: the mean over the middle half of the calls, by their whole.

        Medians of phases do not add up to the median of the whole; these add up to their own whole, and outliers
        count as little as with a median. Empty where no phases are known.
        """
        if not self.spans:
            return {}
        spans = np.concatenate(self.spans)
        order = np.argsort(spans.sum(axis=1), kind="stable")
        count = len(order)
        middle = order[count // 4 : count - count // 4]
        means = spans[middle].mean(axis=0) / 1e3
        return {name: float(mean) for name, mean in zip(NAMES, means, strict=True)}

    def phases(self) -> dict[str, dict[str, float]]:
        """Microseconds: ``typical``, ``median`` and ``p99`` by phase."""
        if not self.spans:
            return {}
        ordered = np.sort(np.concatenate(self.spans), axis=0) / 1e3
        rank = max(0, math.ceil(len(ordered) * 0.99) - 1)
        return {
            name: {
                "typical_us": typical,
                "median_us": float(ordered[len(ordered) // 2, number]),
                "p99_us": float(ordered[rank, number]),
            }
            for number, (name, typical) in enumerate(self.typical().items())
        }

    def to_dict(self) -> dict[str, Any]:
        told: dict[str, Any] = {
            "kind": self.kind, "who": self.who, "size": self.size, "bytes_in": self.nbytes, "callers": self.callers,
            "calls": len(self.samples),
        }  # fmt: skip
        if self.samples:
            told.update({f"p{percent}_us": self.percentile(percent) for percent in PERCENTILES})
            told.update(min_us=min(self.samples) / 1e3, mean_us=sum(self.samples) / len(self.samples) / 1e3)
        if self.elapsed:
            told["calls_per_second"] = self.rate
        if self.spans:
            told["phases"] = self.phases()
        return told


@dataclass
class Benchmark:
    """What ``isopod.bench`` returns. ``inputs`` are the forms by size; ``facts`` are of the machine, ``model`` of what
    was called. ``complete`` is False if it was interrupted: then this is what there was until then.
    """

    name: str
    model: dict[str, str] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    series: list[Series] = field(default_factory=list)
    pace: float = 0.0  # seconds
    notes: list[str] = field(default_factory=list)
    complete: bool = False

    def some(self, kind: Kind, who: str | None = None, size: str | None = None) -> list[Series]:
        """Those that have samples, in the order in which they were measured."""
        return [
            one
            for one in self.series
            if one.kind == kind and one.samples and who in (None, one.who) and size in (None, one.size)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the single samples as plain values, for JSON."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "complete": self.complete,
            "model": dict(self.model),
            "machine": dict(self.facts),
            "inputs": dict(self.inputs),
            "pace_seconds": self.pace,
            "phases": list(NAMES),
            "series": [one.to_dict() for one in self.series if one.samples],
            "notes": list(self.notes),
        }

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write plots and tables as ``.html`` (one file, which needs no network), or the plots as .png, .svg or .pdf.

        Needs the extra ``plot``. Raises ``SpecError``.
        """
        from isopod.runtime.bench.report import write  # which needs the results, too

        return write(self, Path(path))


def in_order(found: Sequence[str]) -> list[str]:
    """Each once, as they first came."""
    return list(dict.fromkeys(found))
