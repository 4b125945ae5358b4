"""What the soak holds when all is quiet, sample after sample: it must not grow.

At each sample nobody calls, every worker is up, nothing is kept and the collector has run. So counts must be the same
each time; memory may breathe, within bounds. Compared are medians: of the second quarter, when all is warm, and of the
last.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import statistics
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from stress.subjects import Subject

_WARM_UP = 0.2  # of the samples
_LEAST = 8  # samples, below which there is no trend to speak of
_MIB = 1 << 20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # from <malloc.h>
_MMAP_THRESHOLD = 256 << 10  # bytes
# Blocks, spare copies and remembered tensors are bounded by arenas, and by the sizes of caches; cancelled timers stay
# until there are twice as many.
_NOT_COUNTED = ("Block", "Lease", "_Alike", "Tensor", "Timer")


@dataclass(frozen=True)
class Bound:
    """By how much a figure may grow: ``absolute`` in its own unit, or as a share of what it was, whichever is more."""

    absolute: float
    share: float = 0.0
    unit: int = 1
    per_spare: int = 0  # more for each worker beyond the first of its model


BOUNDS = {
    "private memory, MB": Bound(20 * _MIB, 0.10, _MIB),
    "unique memory (USS), MB": Bound(1024 * _MIB, 1.0, _MIB),  # arenas are in it, up to their limit
    "resident memory (RSS), MB": Bound(1024 * _MIB, 1.0, _MIB),
    "descriptors of segments": Bound(
        40, per_spare=8
    ),  # two directions of four models, and an arena grows in a few steps
    "other descriptors": Bound(0),
    "threads": Bound(0, per_spare=1),  # it may or may not have had a future
    "children": Bound(0),
    "names in /dev/shm": Bound(0),
    "objects of isopod": Bound(60, per_spare=10),
    "inputs in use, KB": Bound(0, unit=1024),
    "steady worker, private, MB": Bound(20 * _MIB, 0.10, _MIB),
    "steady worker, descriptors": Bound(16),
    "steady worker, threads": Bound(0),
    "sessions": Bound(0),
}


class Flatness:
    """The samples, by figure."""

    def __init__(self, subjects: Sequence[Subject], spares: int) -> None:
        self.samples: dict[str, list[float]] = {}
        self._spares = spares  # workers beyond the first of each model
        self._subjects = subjects
        self._steady = next(one for one in subjects if one.name == "steady")

    def sample(self) -> None:
        """Take one. The ledger rests, and every model has just answered."""
        for name, value in self._figures().items():
            self.samples.setdefault(name, []).append(value)

    def _figures(self) -> dict[str, float]:
        gc.collect()
        _trim()
        here = psutil.Process()
        memory = here.memory_full_info()
        segments, others = _descriptors(os.getpid())
        worker = psutil.Process(self._steady.model.health.pid)
        theirs = worker.memory_info()
        ours = _objects()
        return {
            "private memory, MB": memory.rss - memory.shared,
            "unique memory (USS), MB": memory.uss,
            "resident memory (RSS), MB": memory.rss,
            "descriptors of segments": segments,
            "other descriptors": others,
            "threads": _threads(here),
            "children": len(here.children(recursive=True)),
            "names in /dev/shm": len(names_in_shared_memory()),
            "objects of isopod": sum(ours.values()),
            "sessions": ours["Session"],
            "inputs in use, KB": sum(one.model.stats().shared_bytes_used for one in self._subjects),
            "steady worker, private, MB": theirs.rss - theirs.shared,
            "steady worker, descriptors": sum(_descriptors(worker.pid)),
            "steady worker, threads": worker.num_threads(),
        }

    def violations(self) -> list[str]:
        """What has grown by more than it may."""
        found = []
        for name, samples in self.samples.items():
            warm = samples[int(len(samples) * _WARM_UP) :]
            if len(samples) < _LEAST:
                continue
            quarter = max(2, len(samples) // 4)
            early, late = statistics.median(warm[:quarter]), statistics.median(samples[-quarter:])
            bound = BOUNDS[name]
            absolute = bound.absolute + bound.per_spare * self._spares
            if late - early > max(absolute, bound.share * early):
                unit = bound.unit
                found.append(f"{name} grew from {early / unit:,.1f} to {late / unit:,.1f} (medians)")
        return found


def names_in_shared_memory() -> set[str]:
    return {name for name in os.listdir("/dev/shm") if "isopod" in name}


def quiet(seconds: float, workers: int) -> None:
    """Give what is ending or starting a moment: threads of dead sessions, and each of ``workers`` processes."""
    until = time.monotonic() + seconds
    last = None
    while time.monotonic() < until:
        now = (threading.active_count(), len(psutil.Process().children()))
        if now == last and now[1] == workers:
            return
        last = now
        time.sleep(0.05)  # between two looks that must be alike: an end of a thread has no event


def plain_malloc() -> None:
    """Have glibc map large pieces by themselves and give them back at once, here and in workers.

    Left alone, it raises both thresholds to tens of megabytes, for each thread's heap: no leak, but it looks like one.
    """
    os.environ.update({"MALLOC_MMAP_THRESHOLD_": str(_MMAP_THRESHOLD), "MALLOC_TRIM_THRESHOLD_": str(_MMAP_THRESHOLD)})
    with contextlib.suppress(AttributeError):  # another C library
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD)
        library.mallopt(_M_TRIM_THRESHOLD, _MMAP_THRESHOLD)


def _trim() -> None:
    """Have malloc give back what it only keeps for later."""
    with contextlib.suppress(AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def _threads(process: psutil.Process) -> int:
    return process.num_threads()


def _descriptors(pid: int) -> tuple[int, int]:
    """(those of shared memory, the others)."""
    segments = others = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(entry)
        except FileNotFoundError:  # that of the listing itself
            continue
        if "memfd:isopod-inputs" in target or "memfd:isopod-outputs" in target:
            segments += 1
        else:
            others += 1
    return segments, others


def _objects() -> Counter[str]:
    kinds = [type(one) for one in gc.get_objects()]
    names = (kind.__name__ for kind in kinds if str(kind.__module__).startswith("isopod."))
    return Counter(name for name in names if name not in _NOT_COUNTED)
