"""Calls of the kernel and of the C library that Python has no names for; an error is an ``OSError``."""

from __future__ import annotations

import ctypes
import os
from typing import Any

library = ctypes.CDLL(None, use_errno=True)
library.syscall.restype = ctypes.c_long


class Unavailable(Exception):
    """(what is missing, what to do about it): the sandbox that was asked for cannot be had here."""

    def __init__(self, mechanism: str, why: str, remedy: str) -> None:
        super().__init__(f"{mechanism}: {why}; {remedy}")


def syscall(number: int, *arguments: Any) -> int:
    """System call ``number``; integers are passed as longs, anything else as ctypes does."""
    passed = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result = int(library.syscall(ctypes.c_long(number), *passed))
    if result == -1:
        raise _error()
    return result


def prctl(option: int, *arguments: Any) -> int:
    passed = [ctypes.c_ulong(one) if isinstance(one, int) else one for one in arguments]
    passed += [ctypes.c_ulong(0)] * (4 - len(passed))
    result = int(library.prctl(ctypes.c_int(option), *passed))
    if result == -1:
        raise _error()
    return result


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
