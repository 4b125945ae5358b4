"""What the tests of fleets share: see the fixtures ``member`` and ``seen``."""

from __future__ import annotations

from collections.abc import Callable

import isopod
from isopod import Restart

UNBOUNDED = Restart(max_restarts=None)
Seen = Callable[[], tuple[str, Callable[[], int]]]


def states(model: isopod.Model) -> list[str]:
    return [worker.state for worker in model.health.workers]
