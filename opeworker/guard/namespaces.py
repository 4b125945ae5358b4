"""Namespaces of a worker's own, on top of the lock: another user's powers, no network interfaces, its own mounts.

They need no privileges where the kernel allows a user namespace, which containers often do not. They are a second wall
behind the filter of system calls, and what makes a scratch folder exact: a file system in memory, of just its size. The
filter must come after them: it is what keeps the powers of a new user namespace from being used.

A namespace of processes is there only for models that may start some (see ``processes``): it takes two processes more.
"""

from __future__ import annotations

import contextlib
import ctypes
import os

from isopod.opeworker.guard import native
from isopod.opeworker.guard.native import Unavailable

# <linux/sched.h> and <linux/mount.h>
_NEW_USER, _NEW_NETWORK, _NEW_IPC, _NEW_MOUNTS = 0x10000000, 0x40000000, 0x08000000, 0x00020000
_NEW_PROCESSES = 0x20000000
_PRIVATE_ALL, _NO_SUID_NO_DEVICES, _NO_EXECUTION = 1 << 18 | 1 << 14, 2 | 4, 8
_MOST_FILES = 10_000


def enter(scratch: str, size: int, shared_memory: int) -> str:
    """Move this process, which has one thread, into new namespaces; ``scratch`` becomes a file system of that size.

    With ``shared_memory`` in bytes, ``/dev/shm`` becomes one, too, and the next fork begins a namespace of processes.
    Raises ``Unavailable``, and then the process is of no further use.
    """
    user, group = os.geteuid(), os.getegid()
    doing = "a user namespace"
    try:
        processes = _NEW_PROCESSES if shared_memory else 0
        _succeed(native.library.unshare(_NEW_USER | _NEW_NETWORK | _NEW_IPC | _NEW_MOUNTS | processes))
        doing = "to stay the same user in it"
        with contextlib.suppress(FileNotFoundError):  # before Linux 3.19
            _write("setgroups", "deny")
        _write("uid_map", f"{user} {user} 1")
        _write("gid_map", f"{group} {group} 1")
        doing = "mounts of its own"
        _mount("/", "", _PRIVATE_ALL, "")  # what is mounted here is seen nowhere else
        for folder, most in ((scratch, size), ("/dev/shm", shared_memory)):
            if folder and most:
                doing = "a file system in memory"
                _mount(folder, "tmpfs", _NO_SUID_NO_DEVICES, f"size={most},nr_inodes={_MOST_FILES},mode=700")
    except OSError as error:
        remedy = "allow_subprocess needs it" if shared_memory else "ask for namespaces='off'"
        raise Unavailable(
            "namespaces", f"{doing} cannot be had ({error.strerror})", f"is it forbidden here? {remedy}"
        ) from None
    return "user, network, ipc, mounts"


def show_own_processes() -> str:
    """Let ``/proc`` show those of this process's own namespace. Returns what is to be said of it.

    Where parts of ``/proc`` are hidden, as in a container, the kernel gives no other one. Landlock lets nobody read
    what it says of other processes; but which numbers there are can then be seen.
    """
    try:
        _mount("/proc", "proc", _NO_SUID_NO_DEVICES | _NO_EXECUTION, "")
    except OSError:
        return "processes, with the machine's /proc"
    return "processes"


def _write(name: str, text: str) -> None:
    with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
        file.write(text)


def _mount(where: str, kind: str, flags: int, data: str) -> None:
    texts = [ctypes.c_char_p(os.fsencode(text)) for text in ("none", where, kind)]
    _succeed(native.library.mount(*texts, ctypes.c_ulong(flags), ctypes.c_char_p(data.encode())))


def _succeed(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
