"""When a worker has served for long enough: too old, too large, too many calls."""

from __future__ import annotations

import contextlib
from typing import Any

import psutil

from isopod.runtime.process import WorkerProcess
from isopod.runtime.session import Session
from isopod.runtime.staffing import Recycle

LOOK_EVERY = 0.5  # seconds between two looks at a worker's memory and age


def is_worn(session: Session, recycle: Recycle) -> bool:
    """Whether it has passed a limit of ``recycle``; said of a dead one, too."""
    if recycle.max_age is not None and session.life.uptime >= recycle.max_age:
        return True
    if recycle.max_calls is not None and session.answered >= recycle.max_calls:
        return True
    return recycle.max_rss is not None and private_bytes(session.process) >= recycle.max_rss


def private_bytes(process: WorkerProcess) -> int:
    """Resident memory of a worker, and of what it has started, without what they share: the arenas are the
    application's. 0 for a dead one."""
    return sum(int(memory.rss) - int(memory.shared) for memory in memory_of(process))


def memory_of(process: WorkerProcess) -> list[Any]:
    """``psutil``'s account of a worker's memory, and of each process that it has started, if it may."""
    with contextlib.suppress(psutil.Error):
        worker = psutil.Process(process.pid)
        started = worker.children(recursive=True) if process.may_start else []
        return [worker.memory_info(), *filter(None, map(_memory, started))]
    return []


def _memory(process: psutil.Process) -> Any:
    with contextlib.suppress(psutil.Error):  # it has just ended
        return process.memory_info()
    return None
