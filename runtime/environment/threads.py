"""How many threads a model's libraries start. ``Env`` and ``load`` both take it; it is settled before the worker runs.

Thread pools are sized once, when a library is imported, so a number that comes later comes too late.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from isopod.ipc.errors import SpecError

# What OpenMP, the BLAS libraries and TensorFlow read. Torch takes its own from OpenMP's; the threads *between* its
# operations have no variable, so the worker sets them once Torch is imported.
_WITHIN = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
)  # fmt: skip
_BETWEEN = ("TF_NUM_INTEROP_THREADS",)


@dataclass(frozen=True)
class Threads:
    """Threads of a model's libraries: ``within`` one operation (OpenMP, BLAS, intra-op), ``between`` operations
    (inter-op; 1 if not said). Raises ``SpecError`` for what is no number, and for numbers below one.
    """

    within: int
    between: int = 1

    def __post_init__(self) -> None:
        for count in (self.within, self.between):
            if type(count) is not int:  # true is an int, too
                raise SpecError(f"threads: {count!r} is not a number of threads")
        if self.within < 1 or self.between < 1:
            raise SpecError(f"a worker needs at least one thread of each kind, not {self.within} and {self.between}")

    def variables(self) -> dict[str, str]:
        return {**dict.fromkeys(_WITHIN, str(self.within)), **dict.fromkeys(_BETWEEN, str(self.between))}


def thread_counts(given: int | Threads | None) -> Threads | None:
    """``threads=4`` is short for ``Threads(4)``. Raises ``SpecError``."""
    return given if given is None or isinstance(given, Threads) else Threads(given)


def with_threads(variables: Mapping[str, str], threads: Threads | None) -> Mapping[str, str]:
    """An environment's own variables win: they are the more particular wish."""
    return variables if threads is None else {**threads.variables(), **variables}
