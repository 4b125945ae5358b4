"""Which processors a worker may use, and how it is moved to others while it runs."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Sequence

from isopod.ipc.errors import SpecError

Cpus = frozenset[int]
_logger = logging.getLogger("isopod")


def affinity(given: str | Iterable[int] | Sequence[str | Iterable[int]] | None, workers: int) -> tuple[Cpus, ...]:
    """The processors of each worker: ``"0-3"`` or ``[0, 1]`` for all alike, a sequence of such for one each.

    Empty where nothing was asked. Raises ``SpecError`` for processors that this process may not use, or another number
    of sets than there are workers.
    """
    if given is None:
        return ()
    parts = [given] if isinstance(given, str) else list(given)
    if parts and all(isinstance(part, int) for part in parts):
        sets = [_cpus(parts)] * workers  # type: ignore[arg-type]
    elif len(parts) == 1:
        sets = [_cpus(parts[0])] * workers  # type: ignore[arg-type]
    else:
        sets = [_cpus(part) for part in parts]  # type: ignore[arg-type]
    if len(sets) != workers:
        raise SpecError(f"cpus gives {len(sets)} sets of processors to {workers} workers")
    return tuple(sets)


def _cpus(given: str | Iterable[int]) -> Cpus:
    try:
        cpus = frozenset(parsed(given) if isinstance(given, str) else map(int, given))
    except (TypeError, ValueError):
        raise SpecError(f"cpus cannot be {given!r}; write '0-3,8' or [0, 1, 2, 3, 8]") from None
    allowed = os.sched_getaffinity(0)
    if not cpus or not cpus <= allowed:
        raise SpecError(f"cpus cannot be {given!r}: this process may use {sorted(allowed)}")
    return cpus


def parsed(text: str) -> set[int]:
    """As in ``taskset -c``: single numbers and ranges, with commas between."""
    cpus: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        cpus.update(range(int(first), int(last if dash else first) + 1))
    return cpus


def listed(cpus: Iterable[int]) -> str:
    """The other way round: ``"0-3,8"``."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and cpu == runs[-1][-1] + 1:
            runs[-1].append(cpu)
        else:
            runs.append([cpu])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def pin(pid: int, cpus: Cpus) -> None:
    """Move a running worker, all of its threads, to other processors. One that has just died is no matter.

    Never raises: it serves on the processors that it has where the machine does not give it the others any more.
    """
    moved: set[str] = set()
    try:
        while tasks := set(os.listdir(f"/proc/{pid}/task")) - moved:  # again, for those that were started meanwhile
            moved |= tasks
            for task in tasks:
                with contextlib.suppress(ProcessLookupError):  # a thread that has just ended
                    os.sched_setaffinity(int(task), cpus)
    except (FileNotFoundError, ProcessLookupError):
        return
    except OSError as error:
        # As text: a handler may keep the record, and with a traceback the worker.
        _logger.warning("worker %d could not be moved to processors %s: %s", pid, sorted(cpus), error.strerror)
