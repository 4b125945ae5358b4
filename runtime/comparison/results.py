"""What came out of a comparison: values, their JSON, and whether it is good enough."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from isopod.runtime.comparison.differences import Agreement
from isopod.runtime.problems.fields import Tolerance

SCHEMA = 1  # of ``to_dict``: raised when a key goes away or changes its meaning, not when one is added
PERCENTILES = (50, 90, 99)


@dataclass(frozen=True)
class Failure:
    """Something that an implementation did instead of answering, or against the problem.

    ``what``: "not loaded", "crashed", "timed out", "raised", "broke the problem" or "refused"; ``message`` is the
    error's own text.
    """

    sample: str
    what: str
    message: str

    def __str__(self) -> str:
        where = f" on {self.sample}" if self.sample else ""
        return f"{self.what}{where}: {(self.message.splitlines() or [''])[0]}"


@dataclass
class Implementation:
    """One implementation, and all that is known of it.

    ``latencies`` in nanoseconds, of each timed call; memory in bytes: ``rss`` at the end, with shared memory,
    ``peak_rss`` the most that the worker ever had; ``start_seconds`` until it was ready. ``agreements`` are against
    the reference, and so the reference has none.
    """

    name: str
    target: str
    answered: int = 0
    agreements: list[Agreement] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    latencies: list[int] = field(default_factory=list, repr=False)
    rss: int = 0
    peak_rss: int = 0
    start_seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return not self.failures and not any(agreement.failed for agreement in self.agreements)

    def percentile(self, percent: float) -> float | None:
        """Of the latencies, in microseconds, the nearest rank; None where nothing was timed."""
        ordered = sorted(self.latencies)
        return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] / 1e3 if ordered else None

    def latency(self) -> dict[str, float]:
        """Percentiles, the least and the number of calls, for JSON."""
        if not self.latencies:
            return {"samples": 0}
        told = {f"p{percent}_us": self.percentile(percent) or 0.0 for percent in PERCENTILES}
        return {**told, "min_us": min(self.latencies) / 1e3, "samples": len(self.latencies)}


@dataclass
class Comparison:
    """What ``isopod.compare`` returns. ``implementations`` are as they were given; the ``reference`` is the first of
    them that could be loaded. ``complete`` is False if it was interrupted: then this is what there was until then.
    """

    problem: str
    implementations: list[Implementation]
    samples: int
    reference: str = ""
    complete: bool = True

    @property
    def passed(self) -> bool:
        """No failure, no difference in structure, and everything within its tolerance where there is one."""
        return self.complete and all(one.passed for one in self.implementations)

    @property
    def judged(self) -> bool:
        """Whether any output had a tolerance."""
        return any(item.tolerance is not None for one in self.implementations for item in one.agreements)

    def __getitem__(self, name: str) -> Implementation:
        """By its name. Raises ``KeyError``."""
        for one in self.implementations:
            if one.name == name:
                return one
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON. Infinite and undefined numbers are text there."""
        return {
            "schema": SCHEMA,
            "problem": self.problem,
            "samples": self.samples,
            "reference": self.reference,
            "complete": self.complete,
            "passed": self.passed,
            "implementations": [_told(one) for one in self.implementations],
        }

    def plot(self, path: str | os.PathLike[str]) -> Path:
        """Write a picture of the errors and the latencies: .png, .svg, .pdf or .html. Needs the extra ``plot``.

        Raises ``SpecError``.
        """
        from isopod.runtime.comparison.picture import write  # which needs the results, too

        return write(self, Path(path))


def _told(one: Implementation) -> dict[str, Any]:
    return {
        "name": one.name,
        "target": one.target,
        "passed": one.passed,
        "answered": one.answered,
        "failures": [{"sample": f.sample, "what": f.what, "message": f.message} for f in one.failures],
        "latency": one.latency(),
        "memory": {"rss_bytes": one.rss, "peak_rss_bytes": one.peak_rss},
        "start_seconds": one.start_seconds,
        "outputs": [_told_agreement(item) for item in one.agreements],
    }


def _told_agreement(item: Agreement) -> dict[str, Any]:
    tolerance: Tolerance | None = item.tolerance
    return {
        "output": item.output,
        "failed": item.failed,
        "tolerance": None
        if tolerance is None
        else {"rtol": tolerance.rtol, "atol": tolerance.atol, "ulp": tolerance.ulp},
        "elements": item.elements,
        "equal": item.equal,
        "mismatches": item.mismatches,
        "not_finite": item.not_finite,
        "max_abs": plain(item.max_abs),
        "max_rel": plain(item.max_rel),
        "max_ulp": item.max_ulp,
        "structure": list(item.structure),
        "first_mismatches": [
            {
                "sample": one.sample,
                "index": list(one.index),
                "reference": plain(one.reference),
                "value": plain(one.value),
            }
            for one in item.first
        ],
    }


def plain(value: Any) -> Any:
    """As JSON can hold it."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, bool | int | float | str | type(None)) else repr(value)


def names_for(targets: Sequence[str]) -> list[str]:
    """Short names by which targets can be told apart: what differs in them, numbered where nothing does."""
    short = [target.rpartition(os.sep)[2] for target in targets]
    ends = [name.rpartition(":")[2] for name in short]
    names = ends if len(set(ends)) == len(ends) else short if len(set(short)) == len(short) else list(targets)
    return [f"{name} #{names[:n].count(name) + 1}" if names.count(name) > 1 else name for n, name in enumerate(names)]
