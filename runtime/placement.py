"""Where workers run, by what is wanted of them: ``load(placement=)``, as sets of processors.

A wake-up takes about 6 µs within a core and 50 µs to another one that sleeps; but on a core of its own a worker works
while its caller does, and both may look for each other's record instead of sleeping. So it depends on the calls which
of the two is better, and the scheduler, which is left alone by ``"auto"``, changes its mind. But a model that is not
trusted leaves one core to others: it would slow them by their caches alone, at any priority. Only workers are pinned:
which processors the application's own threads use is the application's affair.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, get_args

from isopod.ipc.errors import SpecError
from isopod.runtime.resources import Cpus, affinity, parsed

Placement = Literal["auto", "latency", "throughput"]


def processors(
    cpus: str | Iterable[int] | Sequence[str | Iterable[int]] | None, placement: str, workers: int
) -> tuple[Cpus, ...]:
    """The processors of each worker as ``load`` was asked: by number, or by what is wanted. Raises ``SpecError``."""
    if cpus is not None and placement != "auto":
        raise SpecError("give cpus or placement, not both")
    return affinity(cpus, workers) or placed(placement, workers)


def placed(placement: str, workers: int) -> tuple[Cpus, ...]:
    """The processors of each worker, for whoever calls this; empty where nothing is asked.

    ``"latency"``: where the calling thread runs just now. ``"throughput"``: anywhere else, each on a core of its own
    while there are enough of them; where there is no other core, as if nothing were asked. Raises ``SpecError``.
    """
    if placement not in get_args(Placement):
        raise SpecError(f"placement cannot be {placement!r}; it is one of {', '.join(get_args(Placement))}")
    if placement == "auto":
        return ()
    allowed = frozenset(os.sched_getaffinity(0))
    here = core_of(_current()) & allowed or allowed
    if placement == "latency":
        return (here,) * workers
    cores = list(dict.fromkeys(core_of(cpu) & allowed for cpu in sorted(allowed - here)))
    if not cores:
        return ()
    if workers > len(cores):
        return (allowed - here,) * workers
    return tuple(cores[:workers])


def all_but_one_core(allowed: Cpus) -> Cpus:
    """What a strict worker runs on where nothing is asked: it leaves the first core, so that all leave the same one.

    Where there is no other core it leaves one logical processor, and none where there is but one.
    """
    first = min(allowed)
    return allowed - core_of(first) or allowed - {first} or allowed


def core_of(cpu: int) -> Cpus:
    """A logical processor with those that share its core."""
    try:
        text = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text(encoding="ascii")
        return frozenset(parsed(text.strip())) | {cpu}
    except (OSError, ValueError):  # not every container shows its topology
        return frozenset([cpu])


def _current() -> int:
    return int(ctypes.CDLL(None).sched_getcpu())
