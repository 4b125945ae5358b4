"""The truth about a model at the moment of asking: derived from its workers' states, never cached."""

from __future__ import annotations

from dataclasses import dataclass, field

from isopod.runtime.lifecycle import READY
from isopod.runtime.report import CrashReport


@dataclass(frozen=True)
class WorkerHealth:
    """One worker: the seat that it has among its model's (``replica``), its state, how long it is up (seconds), and how
    many calls it has answered."""

    replica: int
    state: str
    pid: int
    uptime: float
    calls: int


@dataclass(frozen=True)
class Health:
    """A model's health. ``state`` is what a caller would meet now: ``ready``, ``starting``, ``loading``,
    ``backing off``, ``broken`` (``reason`` says why), ``closed``.

    ``pid`` and ``uptime`` (seconds) are those of the first worker that is ready, ``restarts`` the workers that were
    started beyond the first ones, ``workers`` all that live.
    """

    state: str
    pid: int | None
    uptime: float
    restarts: int
    last_crash: CrashReport | None = None
    reason: str = ""
    workers: tuple[WorkerHealth, ...] = field(default=())

    @property
    def ready(self) -> bool:
        """Whether a call would be taken at once."""
        return self.state == READY
