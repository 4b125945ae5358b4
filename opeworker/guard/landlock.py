"""Which files may be opened, and for what: Landlock, which needs no privileges (landlock(7)).

A ruleset *handles* every kind of access that this kernel knows, and so forbids it everywhere; rules then allow some of
it beneath some paths. Kernels with more know more: TCP from version 4 on, device ioctls from 5, abstract sockets and
signals from 6. The floor is version 3 (Linux 6.2): before it, a file that can be read can be emptied.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Dict, Iterable

from isopod.opeworker.guard import native
from isopod.opeworker.guard.native import Unavailable
from isopod.opeworker.guard.syscalls import NUMBERS

FLOOR = 3

# <linux/landlock.h>; the numbers of these three calls are the same on every architecture.
_CREATE, _ADD, _RESTRICT = (
    NUMBERS[name][0] for name in ("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self")
)
_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_EXECUTE, _MAKE_CHAR, _MAKE_SOCK, _MAKE_BLOCK, _REFER, _TRUNCATE, _IOCTL_DEV = (
    1 << 0, 1 << 6, 1 << 9, 1 << 11, 1 << 13, 1 << 14, 1 << 15,
)  # fmt: skip
_OF_A_FILE = _WRITE_FILE | _READ_FILE | _TRUNCATE | _EXECUTE
_VERSION_FLAG, _PATH_BENEATH = 1, 1
_BIND_TCP, _CONNECT_TCP = 1, 2
_SCOPE_ABSTRACT_UNIX, _SCOPE_SIGNAL = 1, 2

READ = _READ_FILE | _READ_DIR
DEVICE = _READ_FILE | _WRITE_FILE  # of /dev/null
# A folder of the model's own: anything but programs, devices and sockets.
SCRATCH = (1 << 15) - 1 & ~(_EXECUTE | _MAKE_CHAR | _MAKE_BLOCK | _MAKE_SOCK)


def version() -> int:
    """The version of Landlock's interface on this kernel; 0 where there is none."""
    try:
        return native.syscall(_CREATE, None, 0, _VERSION_FLAG)
    except OSError:
        return 0


def restrict(rules: Dict[str, int]) -> str:
    """Confine this thread, and all that it starts, to ``rules``: rights by path. Paths that are not there are left out.

    Needs no_new_privs. Raises ``Unavailable``.
    """
    known = version()
    if known < FLOOR:
        have = f"this kernel has version {known} of it" if known else "this kernel does not offer it"
        raise Unavailable("Landlock", have, f"it needs version {FLOOR}: Linux 6.2, and landlock among the lsm= modules")
    handled = (1 << 15) - 1 | (_IOCTL_DEV if known >= 5 else 0)
    network = _BIND_TCP | _CONNECT_TCP if known >= 4 else 0
    scoped = _SCOPE_ABSTRACT_UNIX | _SCOPE_SIGNAL if known >= 6 else 0
    attributes = struct.pack("<QQQ", handled, network, scoped)[: 24 if known >= 6 else 16 if known >= 4 else 8]
    try:
        ruleset = native.syscall(_CREATE, ctypes.c_char_p(attributes), len(attributes), 0)
        try:
            for path, rights in rules.items():
                _allow(ruleset, path, rights & handled)
            native.syscall(_RESTRICT, ruleset, 0)
        finally:
            os.close(ruleset)
    except OSError as error:
        raise Unavailable(
            "Landlock", f"the kernel refused the rules ({error.strerror})", "is it forbidden here?"
        ) from None
    return f"version {known}, {len(rules)} paths"


def rules(readable: Iterable[str], programs: Iterable[str], writable: Iterable[str]) -> Dict[str, int]:
    """Rights by path: those that may be read, those that may be executed, too, /dev/null, and folders of its own."""
    found = dict.fromkeys((path for path in readable if path), READ)
    found.update(dict.fromkeys(programs, READ | _EXECUTE))
    found["/dev/null"] = DEVICE
    found.update(dict.fromkeys(writable, SCRATCH))
    return found


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # it is not there: nothing that it holds can be opened
    try:
        if not os.path.isdir(path):
            rights &= _OF_A_FILE
        native.syscall(_ADD, ruleset, _PATH_BENEATH, ctypes.c_char_p(struct.pack("<Qi", rights, descriptor)), 0)
    finally:
        os.close(descriptor)
