# mypy: ignore-errors
"""Attacks on other processes: the application, and a victim that the harness has started and that holds a marker."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import native

Victims = dict[str, Any]


def ptrace(victims: Victims, _: Any) -> bool:
    native.call("ptrace", 16, victims["pid"], 0, 0)  # PTRACE_ATTACH
    os.waitpid(victims["pid"], 0x40000000)
    native.call("ptrace", 17, victims["pid"], 0, 0)
    return True


def ptrace_seize(victims: Victims, _: Any) -> bool:
    native.call("ptrace", 0x4206, victims["pid"], 0, 0)
    native.call("ptrace", 0x4207, victims["pid"], 0, 0)  # stop it, so that it can be let go
    os.waitpid(victims["pid"], 0x40000000)
    native.call("ptrace", 17, victims["pid"], 0, 0)
    return True


class _Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def process_vm_readv(victims: Victims, _: Any) -> bool:
    marker = victims["marker"].encode()
    room = ctypes.create_string_buffer(len(marker))
    here = _Vector(ctypes.addressof(room), len(marker))
    there = _Vector(victims["address"], len(marker))
    native.call("process_vm_readv", victims["pid"], ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
    return room.raw == marker


def proc_mem(victims: Victims, _: Any) -> bool:
    with open(f"/proc/{victims['pid']}/mem", "rb") as file:
        file.seek(victims["address"])
        return file.read(len(victims["marker"])) == victims["marker"].encode()


def proc_mem_of_parent(victims: Victims, _: Any) -> bool:
    with open(f"/proc/{os.getppid()}/mem", "rb"):
        return True


def proc_environ(victims: Victims, _: Any) -> bool:
    with open(f"/proc/{victims['pid']}/environ", "rb") as file:
        return bool(file.read())


def proc_cmdline(victims: Victims, _: Any) -> bool:
    with open(f"/proc/{victims['pid']}/cmdline", "rb") as file:
        return bool(file.read())


def links_of_parent(victims: Victims, _: Any) -> bool:
    """Which program it runs, and in which folder."""
    return bool(os.readlink(f"/proc/{os.getppid()}/exe") and os.readlink(f"/proc/{os.getppid()}/cwd"))


def pidfd_of_parent(victims: Victims, _: Any) -> bool:
    """The control channel can name who is at its other end (SO_PEERPIDFD), and a signal could go there."""
    import socket

    for number in native.descriptors():
        try:
            with socket.socket(fileno=os.dup(number)) as sock:
                pidfd = int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, 77, 4), "little")
        except OSError:
            continue
        try:
            native.raw(424, pidfd, int(signal.SIGUSR1), 0, 0)  # pidfd_send_signal
        finally:
            os.close(pidfd)
        return True
    return False


def pidfd_getfd(victims: Victims, _: Any) -> bool:
    pidfd = native.call("pidfd_open", victims["pid"], 0)
    try:
        os.close(native.call("pidfd_getfd", pidfd, 0, 0))
    finally:
        os.close(pidfd)
    return True


def _parent() -> int:
    number = os.getppid()
    if number == 0:  # which would mean itself
        raise ProcessLookupError("its parent is in another namespace, and has no number")
    return number


def signal_parent(victims: Victims, _: Any) -> bool:
    os.kill(_parent(), signal.SIGUSR1)  # which the harness counts
    return True


def signal_victim(victims: Victims, _: Any) -> bool:
    os.kill(victims["pid"], signal.SIGUSR1)  # which the victim counts
    return True


def signal_group(victims: Victims, _: Any) -> bool:
    os.killpg(victims["pid"], signal.SIGUSR1)  # the victim leads a group of its own
    return True


def signal_by_owner_of_a_pipe(victims: Victims, _: Any) -> bool:
    """A pipe that is readable sends a signal to whomever it is said to belong to."""
    import fcntl

    read, write = os.pipe()
    try:
        fcntl.fcntl(read, fcntl.F_SETOWN, victims["pid"])
        fcntl.fcntl(read, 10, int(signal.SIGUSR1))  # F_SETSIG
        fcntl.fcntl(read, fcntl.F_SETFL, os.O_ASYNC)
        os.write(write, b"x")
    finally:
        os.close(read)
        os.close(write)
    return True


def limit_of_parent(victims: Victims, _: Any) -> bool:
    resource.prlimit(_parent(), resource.RLIMIT_MSGQUEUE, (800_000, 800_000))
    return True


def affinity_of_parent(victims: Victims, _: Any) -> bool:
    os.sched_setaffinity(_parent(), {min(os.sched_getaffinity(0))})
    return True


def renice_parent(victims: Victims, _: Any) -> bool:
    os.setpriority(os.PRIO_PROCESS, _parent(), 1)
    return True


def raise_its_priority(victims: Victims, _: Any) -> bool:
    """By each of the calls that set it, and by the limit that would let it."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = (ctypes.c_uint32 * 12)(48, 0, 0, 0, before - 1)  # sched_setattr: size, policy, flags (two), nice
    attempts = [
        lambda: resource.setrlimit(resource.RLIMIT_NICE, (40, 40)),
        lambda: native.call("sched_setattr", 0, ctypes.byref(attributes), 0),
        lambda: os.setpriority(os.PRIO_PROCESS, 0, before - 1),
        lambda: os.nice(-1),
    ]
    for attempt in attempts:
        with contextlib.suppress(OSError, ValueError):
            attempt()
    raised = os.getpriority(os.PRIO_PROCESS, 0) < before
    if raised:
        os.setpriority(os.PRIO_PROCESS, 0, before)
    return raised


def choose_its_processors(victims: Victims, _: Any) -> bool:
    """All of them, also those that it was to leave to others."""
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    return True


def fork(victims: Victims, _: Any) -> bool:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return True


def execute(victims: Victims, _: Any) -> bool:
    return subprocess.run([sys.executable, "-I", "-c", "pass"], check=False, stdin=subprocess.DEVNULL).returncode == 0


def execute_in_place(victims: Victims, _: Any) -> bool:
    """Would end this worker, so it executes what is not there: where it may, that is what it hears."""
    try:
        os.execv("/nothing/at/all", ["nothing"])
    except FileNotFoundError:
        return True
    return False


def clone3(victims: Victims, _: Any) -> bool:
    arguments = (ctypes.c_uint64 * 8)(0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
    child = native.call("clone3", ctypes.byref(arguments), ctypes.sizeof(arguments))
    if child == 0:
        native.library._exit(0)
    os.waitpid(child, 0)
    return True


def hijack_of_a_thread(victims: Victims, _: Any) -> bool:
    """A handler that runs in another thread, which was perhaps started before the lock: it reads the secret there."""
    try:
        numbers = [int(name) for name in os.listdir("/proc/self/task")]
    except OSError:
        numbers = [os.getpid() + one for one in range(1, 40)]  # threads are numbered as they are started
    found: list[bool] = []

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def handler(_number: int) -> None:
        try:
            with open(victims["secret"], encoding="ascii") as file:
                found.append(file.read() == victims["marker"])
        except OSError:
            found.append(False)

    native.library.signal.restype = ctypes.c_void_p
    native.library.signal(int(signal.SIGUSR2), handler)
    for number in numbers:
        if number != threading.get_native_id():
            try:
                native.raw(234 if native.X86 else 131, os.getpid(), number, int(signal.SIGUSR2))  # tgkill
            except OSError:
                continue
    until = time.monotonic() + 1.0
    while not any(found) and time.monotonic() < until:
        time.sleep(0.01)
    return any(found)


ATTACKS = {
    one.__name__: one
    for one in (
        ptrace, ptrace_seize, process_vm_readv, proc_mem, proc_mem_of_parent, proc_environ,
        proc_cmdline, links_of_parent, pidfd_of_parent, pidfd_getfd,
        signal_parent, signal_victim, signal_group, signal_by_owner_of_a_pipe, limit_of_parent, affinity_of_parent,
        renice_parent, raise_its_priority, choose_its_processors,
        fork, execute, execute_in_place, clone3, hijack_of_a_thread,
    )
}  # fmt: skip
