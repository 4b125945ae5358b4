"""How many workers a model has, what they may cost, and when they are replaced: as ``load`` was asked, checked."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from isopod.ipc.errors import SpecError
from isopod.runtime.circuit import Restart
from isopod.runtime.deadlines import GRACE
from isopod.runtime.resources import Cpus


@dataclass(frozen=True)
class Recycle:
    """When a worker is replaced before it dies: private memory in bytes, calls answered, age in seconds."""

    max_rss: int | None = None
    max_calls: int | None = None
    max_age: float | None = None

    def __bool__(self) -> bool:
        return self != Recycle()


@dataclass(frozen=True)
class Staffing:
    """``workers`` take calls, ``standby`` more are loaded and wait. ``cpus`` has a set for each worker, or is empty.

    ``retries`` is how often a call that was running when its worker died is given to another one. ``max_waiting``
    bounds the calls that are not answered yet, over all workers; ``grace`` is what a model has to stop by itself
    after a call's deadline, in seconds. Raises ``SpecError``.
    """

    workers: int = 1
    standby: int = 0
    retries: int = 0
    max_waiting: int | None = None
    grace: float = GRACE
    cpus: tuple[Cpus, ...] = ()
    restart: Restart = field(default_factory=Restart)
    recycle: Recycle = field(default_factory=Recycle)

    def __post_init__(self) -> None:
        least = {"workers": 1, "standby": 0, "retries": 0, "max_waiting": 1}
        recycle = {"max_rss": 1, "max_calls": 1, "max_age": 0.0}
        asked: list[tuple[str, Any, float]] = [(name, getattr(self, name), low) for name, low in least.items()]
        asked += [(name, getattr(self.recycle, name), low) for name, low in recycle.items()]
        for name, number, low in asked:
            if number is not None and not low <= number < math.inf:
                raise SpecError(f"{name} cannot be {number!r}; it is at least {low}")

    @property
    def seats(self) -> int:
        return self.workers + self.standby
