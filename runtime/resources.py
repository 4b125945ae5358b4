"""Which processors a worker may use, and how many threads its libraries start: settled before it is executed.

Thread pools are sized once, when a library is imported, so a number that comes later comes too late.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from isopod.ipc.errors import SpecError

# What OpenMP, the BLAS libraries and TensorFlow read. Torch takes its own from OpenMP's; the threads *between* its
# operations have no variable, so the worker sets them once Torch is imported.
_WITHIN = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
)  # fmt: skip
_BETWEEN = ("TF_NUM_INTEROP_THREADS",)

Cpus = frozenset[int]
_logger = logging.getLogger("isopod")


@dataclass(frozen=True)
class Threads:
    """Threads of a model's libraries: ``within`` one operation (OpenMP, BLAS, intra-op), ``between`` operations
    (inter-op; 1 if not said). Raises ``SpecError`` for numbers below one.
    """

    within: int
    between: int = 1

    def __post_init__(self) -> None:
        if self.within < 1 or self.between < 1:
            raise SpecError(f"a worker needs at least one thread of each kind, not {self.within} and {self.between}")

    def variables(self) -> dict[str, str]:
        return {**dict.fromkeys(_WITHIN, str(self.within)), **dict.fromkeys(_BETWEEN, str(self.between))}


def thread_counts(given: int | Threads | None) -> Threads | None:
    """``threads=4`` is short for ``Threads(4)``."""
    return Threads(given) if isinstance(given, int) else given


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
        cpus = frozenset(_parsed(given) if isinstance(given, str) else map(int, given))
    except (TypeError, ValueError):
        raise SpecError(f"cpus cannot be {given!r}; write '0-3,8' or [0, 1, 2, 3, 8]") from None
    allowed = os.sched_getaffinity(0)
    if not cpus or not cpus <= allowed:
        raise SpecError(f"cpus cannot be {given!r}: this process may use {sorted(allowed)}")
    return cpus


def _parsed(text: str) -> set[int]:
    """As in ``taskset -c``: single numbers and ranges, with commas between."""
    cpus: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        cpus.update(range(int(first), int(last if dash else first) + 1))
    return cpus


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


def with_threads(variables: Mapping[str, str], threads: Threads | None) -> Mapping[str, str]:
    """An environment's own variables win: they are the more particular wish."""
    return variables if threads is None else {**threads.variables(), **variables}
