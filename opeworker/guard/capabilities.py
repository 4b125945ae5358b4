"""Root's powers, given away for good: what is not kept cannot be had again, not even by a program that is executed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from typing import Iterable

from isopod.opeworker.guard import native

_PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_CAP_AMBIENT, _CLEAR_ALL = 23, 24, 47, 4
_VERSION_3 = 0x20080522  # <linux/capability.h>
_MOST = 64
_SETS = struct.Struct("<6I")  # effective, permitted, inheritable: the low halves, then the high ones


def keep_only(kept: Iterable[int]) -> None:
    """Drop all others from every set of this thread. Raises ``OSError``, which does not happen to what only drops."""
    wanted = sum(1 << number for number in kept)
    for number in range(_MOST):
        # The bounding set needs CAP_SETPCAP: whoever lacks it, a plain user, gains nothing by no_new_privs alone.
        with contextlib.suppress(OSError):
            if not wanted >> number & 1 and native.prctl(_PR_CAPBSET_READ, number):
                native.prctl(_PR_CAPBSET_DROP, number)
    with contextlib.suppress(OSError):  # before Linux 4.3 there is no ambient set
        native.prctl(_PR_CAP_AMBIENT, _CLEAR_ALL)
    header = struct.pack("<Ii", _VERSION_3, 0)
    sets = ctypes.create_string_buffer(_SETS.size)
    _done(native.library.capget(ctypes.c_char_p(header), sets))
    low, high = wanted & 0xFFFFFFFF, wanted >> 32
    had = _SETS.unpack(sets.raw)
    left = (had[0] & low, had[1] & low, 0, had[3] & high, had[4] & high, 0)
    _done(native.library.capset(ctypes.c_char_p(header), ctypes.c_char_p(_SETS.pack(*left))))


def _done(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
