"""How much is measured: the default takes about five minutes, ``--quick`` under twenty seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """``passes`` over all placements and sizes; the seconds of each are for one placement and size in one pass."""

    passes: int
    warm_up: float
    seconds: float
    paced_seconds: float
    starts: int
    crashes: int
    torch_crashes: int


FULL = Effort(passes=2, warm_up=0.4, seconds=3.3, paced_seconds=2.5, starts=15, crashes=50, torch_crashes=5)
QUICK = Effort(passes=1, warm_up=0.05, seconds=0.3, paced_seconds=0.3, starts=2, crashes=2, torch_crashes=0)
