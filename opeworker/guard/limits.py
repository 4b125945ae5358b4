"""Limits of the kernel on this process, and which descriptors it has."""

from __future__ import annotations

import contextlib
import os
import resource
from typing import Dict, Iterable

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


def close_all_but(kept: Iterable[int]) -> None:
    """Close every descriptor that is not one of ours, nor a standard stream. Whoever started us has done so already."""
    ours = {0, 1, 2, *kept}
    try:
        names = os.listdir("/proc/self/fd")
    except OSError:
        return  # there is no /proc to tell
    for number in set(map(int, names)) - ours:
        with contextlib.suppress(OSError):  # that of the listing itself is closed by now
            os.close(number)
