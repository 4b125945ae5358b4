"""Run a command as a container would: with the capabilities and the filter of system calls of Docker by default.

    python container.py COMMAND ...

Of Docker's filter this refuses what is dangerous without capabilities: namespaces, mounts, modules, kexec, BPF, perf,
keys, userfaultfd, io_uring. As root it needs no no_new_privs, and sets none, as Docker does not either.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from pathlib import Path

# By number on x86_64 and aarch64.
REFUSED = {
    "acct": (163, 89), "add_key": (248, 217), "bpf": (321, 280), "clock_adjtime": (305, 266),
    "clock_settime": (227, 112), "delete_module": (176, 106), "finit_module": (313, 273), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fsopen": (430, 430), "fspick": (433, 433), "init_module": (175, 105),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "kcmp": (312, 272),
    "kexec_load": (246, 104), "keyctl": (250, 219), "mount": (165, 40), "mount_setattr": (442, 442),
    "move_mount": (429, 429), "move_pages": (279, 239), "open_by_handle_at": (304, 265), "open_tree": (428, 428),
    "perf_event_open": (298, 241), "pivot_root": (155, 41), "quotactl": (179, 60), "reboot": (169, 142),
    "request_key": (249, 218), "setns": (308, 268), "swapoff": (168, 225), "swapon": (167, 224), "syslog": (103, 116),
    "umount2": (166, 39), "unshare": (272, 97), "userfaultfd": (323, 282),
}  # fmt: skip
# CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, NET_RAW, SYS_CHROOT, MKNOD,
# AUDIT_WRITE, SETFCAP
CAPABILITIES = (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31)
_ALLOW, _EPERM, _ENOSYS = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS


def program() -> bytes:
    def one(code: int, value: int, skip_if: int = 0, skip_else: int = 0) -> bytes:
        return struct.pack("<HBBI", code, skip_if, skip_else, value)

    column = 0 if os.uname().machine == "x86_64" else 1
    clone = (56, 220)[column]
    made = one(0x20, 0)
    made += one(0x15, 435, 0, 1) + one(0x06, _ENOSYS)  # clone3
    # clone with a namespace of its own
    made += one(0x15, clone, 0, 4) + one(0x20, 16) + one(0x45, 0x7E020000, 0, 1) + one(0x06, _EPERM) + one(0x06, _ALLOW)
    for numbers in REFUSED.values():
        made += one(0x15, numbers[column], 0, 1) + one(0x06, _EPERM)
    return made + one(0x06, _ALLOW)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def main() -> None:
    from isopod.opeworker.guard import capabilities, native

    made = program()
    if os.getuid() != 0:
        native.prctl(38, 1)  # a plain user may filter itself only with no_new_privs
    native.prctl(22, 2, ctypes.byref(_Program(len(made) // 8, made)))
    if os.getuid() == 0:
        capabilities.keep_only(CAPABILITIES)
    os.execv(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main()
