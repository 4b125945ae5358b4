"""Waiting for what has no event of its own to wait for."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

GUARD = 60.0  # seconds: a hang guard, never waited for


def until(condition: Callable[[], Any]) -> None:
    """Look until it holds."""
    give_up = time.monotonic() + GUARD
    while not condition():
        assert time.monotonic() < give_up, "it never comes"
        os.sched_yield()


def lasting_threads(pid: int | None) -> int:
    """How many threads a process has, without those that a framework has for a moment as it begins."""
    past, least = time.monotonic() + 0.5, sys.maxsize
    while time.monotonic() < past:
        least = min(least, len(os.listdir(f"/proc/{pid}/task")))
        time.sleep(0.01)
    return least
