"""When a worker has served for long enough: too old, too large, too many calls."""

from __future__ import annotations

import psutil

from isopod.runtime.session import Session
from isopod.runtime.staffing import Recycle

LOOK_EVERY = 0.5  # seconds between two looks at a worker's memory and age


def is_worn(session: Session, recycle: Recycle) -> bool:
    """Whether it has passed a limit of ``recycle``; said of a dead one, too."""
    if recycle.max_age is not None and session.life.uptime >= recycle.max_age:
        return True
    if recycle.max_calls is not None and session.answered >= recycle.max_calls:
        return True
    return recycle.max_rss is not None and private_bytes(session.process.pid) >= recycle.max_rss


def private_bytes(pid: int) -> int:
    """Resident memory of a process without what it shares: the arenas are the application's. 0 for a dead one."""
    try:
        memory = psutil.Process(pid).memory_info()
    except psutil.Error:
        return 0
    return int(memory.rss) - int(memory.shared)
