"""Limits of the kernel on this process, and which descriptors it has."""

from __future__ import annotations

import contextlib
import os
import resource
from typing import Dict, Iterable, List

# By the names that an order uses.
_RESOURCES = {
    "files": resource.RLIMIT_NOFILE,
    "file_size": resource.RLIMIT_FSIZE,
    "locked": resource.RLIMIT_MEMLOCK,
    "address_space": resource.RLIMIT_AS,
}


def apply(wanted: Dict[str, int]) -> None:
    """Set limits, in bytes (``files``: a number of descriptors). What is lower already stays. Raises ``OSError``."""
    for name, value in wanted.items():
        kind = _RESOURCES[name]
        _, hard = resource.getrlimit(kind)
        least = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (least, least))


def close_all_but(kept: Iterable[int]) -> List[int]:
    """Close every descriptor that is not one of ours; the ones that were open."""
    ours = set(kept)
    strangers = []
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        if number not in ours and number > 2:
            with contextlib.suppress(OSError):  # that of the listing itself is closed by now
                os.close(number)
                strangers.append(number)
    return strangers
