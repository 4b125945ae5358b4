"""What a user says of batching."""

from __future__ import annotations

import operator
from dataclasses import dataclass

from isopod.ipc.errors import SpecError
from isopod.runtime.calls import check_seconds


@dataclass(frozen=True)
class Batch:
    """How calls of several callers are put together, for ``load(..., batch=isopod.Batch(64, 0.002))``.

    Each array input has a row for each item in its first dimension, and so has each output. ``max_size`` is the most
    rows that are put together; ``max_delay`` is how long, in seconds, an idle worker is kept waiting for company, and
    only while there was company a moment ago. Where the model or its problem declares shapes, the inputs whose first
    dimension is ``symbol`` have rows, and the others are the same for a whole batch.

    With ``isolate_errors`` a batch in which the model raised is run again call by call, so that only those that cause
    it get the error; for models without side effects. Raises ``SpecError``.
    """

    max_size: int = 32
    max_delay: float = 0.002
    symbol: str = "batch"
    isolate_errors: bool = False

    def __post_init__(self) -> None:
        check_seconds(self.max_delay, "batch: max_delay", zero=True)
        try:
            fits = operator.index(self.max_size) >= 1
        except TypeError:
            fits = False
        if not fits:
            raise SpecError(f"batch: max_size is a number of rows, at least 1, not {self.max_size!r}")
        if not (self.symbol and isinstance(self.symbol, str)):
            raise SpecError(f"batch: symbol is the name of a dimension, not {self.symbol!r}")
