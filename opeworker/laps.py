"""Where the time of this worker's start goes: laps between named points, on the clock that all processes share."""

from __future__ import annotations

import time
from typing import Dict, Optional


class Laps:
    """``seconds`` by name. Laps follow each other without a gap, and the first begins at ``began`` (nanoseconds)."""

    def __init__(self, began: int) -> None:
        # absolute: the parent knows when it ordered the process, and takes the difference
        self.seconds: Dict[str, float] = {"began": began / 1e9}
        self._last = began

    def lap(self, name: str, until: Optional[int] = None) -> None:
        """Everything since the last lap, until now or until a moment that was noted, is this one's."""
        now = time.monotonic_ns() if until is None else until
        self.seconds[name] = (now - self._last) / 1e9
        self._last = now
