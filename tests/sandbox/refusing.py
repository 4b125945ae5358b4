"""Run a command where some system calls answer ENOSYS, as on a kernel that does not have them.

python refusing.py NUMBER[,NUMBER...] COMMAND ...
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def main() -> None:
    from isopod.opeworker.guard import native

    made = struct.pack("<HBBI", 0x20, 0, 0, 0)
    for number in sys.argv[1].split(","):
        made += struct.pack("<HBBI", 0x15, 0, 1, int(number)) + struct.pack("<HBBI", 0x06, 0, 0, 0x50000 | errno.ENOSYS)
    made += struct.pack("<HBBI", 0x06, 0, 0, 0x7FFF0000)
    native.prctl(38, 1)
    native.prctl(22, 2, ctypes.byref(_Program(len(made) // 8, made)))
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
