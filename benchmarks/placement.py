"""Where caller and worker run. A parked wake-up takes about 6 µs within a core and 50 µs and more to another one, so a
figure without its placement says little: each is measured unpinned, on one core, and on two.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Placement:
    """``here`` is for this process and ``there`` for the children, all of their threads."""

    name: str
    here: frozenset[int]
    there: frozenset[int]

    def __str__(self) -> str:
        if self.here == self.there:
            return self.name + (f" (core {min(self.here)})" if len(self.here) == 1 else "")
        return f"{self.name} (caller on {min(self.here)}, worker on {min(self.there)})"

    def apply(self, children: Iterable[int]) -> None:
        pin(os.getpid(), self.here)
        for child in children:
            pin(child, self.there)


def placements() -> list[Placement]:
    """Those that this machine has: without a second core there is no "two cores"."""
    cores = frozenset(os.sched_getaffinity(0))
    here = min(cores)
    one = Placement("one core", frozenset([here]), frozenset([here]))
    found = [Placement("unpinned", cores, cores), one]
    others = sorted(cores - {here} - _siblings(here)) or sorted(cores - {here})
    if others:
        found.append(Placement("two cores", frozenset([here]), frozenset(others[:1])))
    return found


def pin(process: int, cores: frozenset[int]) -> None:
    """Pin every thread that a process has; later ones inherit it."""
    for task in os.listdir(f"/proc/{process}/task"):
        with contextlib.suppress(ProcessLookupError):  # a thread that ended just now
            os.sched_setaffinity(int(task), cores)


def _siblings(core: int) -> set[int]:
    """The hardware threads that share a core's units: running both sides there would be neither one core nor two."""
    path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
    found: set[int] = set()
    with contextlib.suppress(OSError, ValueError):  # not every container shows its topology
        for part in path.read_text().strip().split(","):
            first, _, last = part.partition("-")
            found |= set(range(int(first), int(last or first) + 1))
    return found
