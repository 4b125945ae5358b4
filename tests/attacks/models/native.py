# mypy: ignore-errors
"""System calls for the attacks, by number; an error is an ``OSError``."""

from __future__ import annotations

import ctypes
import os
import platform
from typing import Any

library = ctypes.CDLL(None, use_errno=True)
library.syscall.restype = ctypes.c_long
X86 = platform.machine() == "x86_64"

_NUMBERS = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "clone3": (435, 435), "memfd_create": (319, 279), "io_uring_setup": (425, 425), "userfaultfd": (323, 282),
    "bpf": (321, 280), "perf_event_open": (298, 241), "add_key": (248, 217), "keyctl": (250, 219),
    "mount": (165, 40), "unshare": (272, 97), "setns": (308, 268), "prlimit64": (302, 261), "getpid": (39, 172),
    "truncate": (76, 45), "prctl": (157, 167), "capset": (126, 91), "personality": (135, 92),
    "name_to_handle_at": (303, 264), "landlock_create_ruleset": (444, 444), "process_madvise": (440, 440),
    "kcmp": (312, 272), "sched_setattr": (314, 274), "shmget": (29, 194), "mq_open": (240, 180),
    "inotify_init1": (294, 26),
}  # fmt: skip


def call(name: str, *arguments: Any) -> int:
    return raw(_NUMBERS[name][0 if X86 else 1], *arguments)


def raw(number: int, *arguments: Any) -> int:
    passed = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result = int(library.syscall(ctypes.c_long(number), *passed))
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def descriptors() -> list[int]:
    """Those that are open, but for the standard streams."""
    return [number for number in range(3, 1024) if _is_open(number)]


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
