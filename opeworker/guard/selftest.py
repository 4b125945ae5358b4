"""After the lock: try what must fail. A sandbox is what was seen to hold, not what was asked for."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from typing import Callable, List, Tuple

from isopod.opeworker.guard import native
from isopod.opeworker.guard.native import Unavailable
from isopod.opeworker.guard.syscalls import NUMBERS

_CANARY = f"isopod-selftest-{os.getpid()}"


def run(*, starts: bool = False) -> List[str]:
    """What was tried, and refused; other things where it ``starts`` processes. Raises ``Unavailable``, naming what was
    not."""
    attempts = _ATTEMPTS + (_WITH_PROCESSES if starts else _WITHOUT)
    for name, attempt, expected in attempts:
        try:
            attempt()
        except OSError as error:
            if error.errno in expected:
                continue
            raise _got_through(name, f"it failed otherwise ({error.strerror})") from None
        raise _got_through(name, "it was not refused")
    return [name for name, _, _ in attempts]


def _got_through(name: str, how: str) -> Unavailable:
    return Unavailable("self-test", f"{name}: {how}", "this kernel does not do what it says; please report it")


def _read() -> None:
    os.close(os.open("/", os.O_RDONLY | os.O_DIRECTORY))


def _write() -> None:
    path = os.path.join("/tmp" if os.path.isdir("/tmp") else "/", _CANARY)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    os.unlink(path)


def _socket() -> None:
    socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()


def _fork() -> None:
    child = native.library.fork()
    if child == 0:
        native.library._exit(0)
    if child < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.waitpid(child, 0)


def _execute() -> None:
    os.execv(f"/{_CANARY}", ["nothing"])  # noqa: S606  no such file: where executing is allowed, that is said instead


def _memory_file() -> None:
    name = ctypes.c_char_p(_CANARY.encode())
    os.close(native.syscall(_number("memfd_create"), name, 0))


def _signal() -> None:
    os.kill(os.getppid(), 0)


def _signal_everybody() -> None:
    os.kill(-1, 0)


def _namespace() -> None:
    native.syscall(_number("unshare"), 0x04000000)  # of the machine's name


def _clone3() -> None:
    native.syscall(_number("clone3"), None, 0)


def _number(name: str) -> int:
    return NUMBERS[name][os.uname().machine == "aarch64"]


_Attempt = Tuple[str, Callable[[], None], Tuple[int, ...]]
_ATTEMPTS: List[_Attempt] = [
    ("to list the root folder", _read, (errno.EACCES,)),
    ("to create a file", _write, (errno.EACCES,)),
    ("to open a socket", _socket, (errno.EPERM,)),
    ("to make a memory file", _memory_file, (errno.EPERM,)),
    ("to make a namespace", _namespace, (errno.EPERM,)),
    ("to call clone3", _clone3, (errno.ENOSYS,)),
]
_WITHOUT: List[_Attempt] = [
    ("to fork", _fork, (errno.EPERM,)),
    ("to execute a program", _execute, (errno.EPERM,)),
    ("to signal its parent", _signal, (errno.EPERM,)),
]
# In a namespace of processes there is nobody else yet, but for the first one, which "everybody" does not mean.
_WITH_PROCESSES: List[_Attempt] = [("to signal everybody", _signal_everybody, (errno.ESRCH,))]
