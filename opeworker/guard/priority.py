"""A lower priority, for good: where others want a processor too, they have most of it.

It needs no privileges, belongs to the calling thread, and is inherited by each thread and process that it starts. What
could raise it again is a capability, which is dropped, or one of two limits, which are set to nothing here, since some
systems let their users have either.
"""

from __future__ import annotations

import os
import resource

_ORDINARY = (os.SCHED_OTHER, os.SCHED_BATCH, os.SCHED_IDLE)


def lower(nice: int) -> None:
    """Be as nice as that, 1 to 19, or as this process is already where that is more. Raises ``OSError``."""
    for kind in (resource.RLIMIT_NICE, resource.RLIMIT_RTPRIO):
        resource.setrlimit(kind, (0, 0))
    if os.sched_getscheduler(0) not in _ORDINARY:  # real time, as the application's: how nice it is says nothing there
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    if nice > os.getpriority(os.PRIO_PROCESS, 0):
        os.setpriority(os.PRIO_PROCESS, 0, nice)
