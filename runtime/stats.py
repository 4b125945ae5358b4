"""What a model has done and cost: counters that are cheap to keep, and figures that are made on demand."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from isopod.runtime.observe.phases import NAMES, label
from isopod.runtime.startup import PARTS

_KEPT = 2048  # latest calls that percentiles are taken over


@dataclass(frozen=True)
class Latency:
    """Microseconds over the latest calls; zeros where there was none."""

    median_us: float = 0.0
    p99_us: float = 0.0
    min_us: float = 0.0
    samples: int = 0

    def __str__(self) -> str:
        return f"{self.median_us:.0f} µs median, {self.p99_us:.0f} p99, {self.min_us:.0f} least, {self.samples} calls"


@dataclass(frozen=True)
class Stats:
    """A model's figures since it was loaded. Times in seconds or microseconds as named, sizes in bytes.

    ``latency`` is what a caller waits, ``compute`` the model's own part of it. ``phases`` says where the rest goes, by
    name, in the order in which they come (``docs/phases.md`` has the table); it is empty before the first call. In each
    call they add up to its latency; their medians need not. ``runs`` is how often the model was run: where calls are
    batched, ``calls / runs`` is how many were run together. ``start`` says where the time of the
    last worker's start went, in seconds that add up to ``start_seconds`` (its ``total``): ``queue`` behind other
    starts, ``exec`` to the first line of ours, ``import`` of our own modules, ``hello`` until we have answered,
    ``attach`` to shared memory and log, ``activate`` the environment (its ``.pth`` files), ``numpy`` with what of ours
    needs it, ``module`` the import of the model's file, its framework's with it, ``construct`` the model itself, and
    ``other``, which is mostly the way back here. Printed, it is a few lines for a person. ``bytes_copied_in`` were
    copied on either side to bring inputs to the model, ``bytes_copied_out`` to bring outputs back. Shared memory is
    that of the inputs, arrays that are alive and calls in flight, and of the outputs; what is not needed for a while
    goes.
    """

    calls: int
    errors: int
    crashes: int
    restarts: int
    latency: Latency
    compute: Latency
    bytes_copied_in: int
    bytes_copied_out: int
    rss_bytes: int
    shared_bytes: int
    shared_bytes_used: int
    start_seconds: float
    start: dict[str, float] = field(default_factory=dict)
    phases: dict[str, Latency] = field(default_factory=dict)
    runs: int = 0
    shared_bytes_outputs: int = 0

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {self.start[name] * 1e3:.0f}" for name in PARTS if name in self.start)
        medians = (f"{label(name)} {self.phases[name].median_us:.0f}" for name in NAMES if name in self.phases)
        phases = ", ".join(medians)
        shared = f"{self.shared_bytes_used / 1e6:.1f} of {self.shared_bytes / 1e6:.1f} MB shared for inputs in use"
        shared += f", {self.shared_bytes_outputs / 1e6:.1f} MB for outputs"
        together = f", {self.calls / self.runs:.1f} in a batch" if self.calls > self.runs > 0 else ""
        lines = (
            f"calls    {self.calls}, {self.errors} errors, {self.crashes} crashes, {self.restarts} restarts{together}",
            f"latency  {self.latency}",
            f"compute  {self.compute}",
            f"phases   {phases or 'no call yet'}",
            f"copied   {self.bytes_copied_in / 1e6:.1f} MB in, {self.bytes_copied_out / 1e6:.1f} MB out",
            f"memory   {self.rss_bytes / 1e6:.0f} MB resident, {shared}",
            f"start    {self.start_seconds * 1e3:.0f} ms{f': {parts}' if parts else ''}",
        )
        return "\n".join(lines)


@dataclass
class Counters:
    """Counted as calls are sent and settled, over all workers of a model, by many threads, and without a lock.

    A thread makes way for another where a function begins or ends, or a loop turns: nowhere in ``x.count += number``.
    """

    errors: int = 0
    runs: int = 0
    extra: int = 0  # more calls than runs: those that were run together
    crashes: int = 0
    copied_in: int = 0
    copied_out: int = 0
    marks: deque[list[int]] = field(default_factory=lambda: deque(maxlen=_KEPT))  # of the latest calls
    output_names: tuple[str, ...] = ()

    def count(self, marks: list[int], copied: int, failed: bool, shared: bool) -> None:
        """One call was answered; the worker copied so many bytes for it.

        Of a ``shared`` one the callers are counted by ``count_all``.
        """
        self.runs += 1
        if copied:
            self.copied_out += copied
        if shared:
            self.extra -= 1
            return
        self.marks.append(marks)
        if failed:
            self.errors += 1

    @property
    def calls(self) -> int:
        return self.runs + self.extra

    def count_all(self, marks: Iterable[list[int]], calls: int, errors: int) -> None:
        """Calls that were run together; they have their answers now."""
        self.extra += calls
        self.errors += errors
        self.marks.extend(marks)

    def add_copied_in(self, nbytes: int) -> None:
        self.copied_in += nbytes

    def add_copied_out(self, nbytes: int) -> None:
        self.copied_out += nbytes


def latency(nanoseconds: np.ndarray[Any, Any]) -> Latency:
    ordered = np.sort(nanoseconds) / 1e3
    count = len(ordered)
    if not count:
        return Latency()
    median, p99 = ordered[count // 2], ordered[min(count - 1, count * 99 // 100)]
    return Latency(float(median), float(p99), float(ordered[0]), count)
