# mypy: ignore-errors
"""Attacks by calls and arguments that hardly any program uses. None of them does harm if it succeeds."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import struct
import termios
from typing import Any

import native
import wire

Victims = dict[str, Any]
_DENIED = (errno.EPERM, errno.ENOSYS, errno.EACCES)


def secret_memory(victims: Victims, _: Any) -> bool:
    """Memory that not even the kernel has mapped, and no limit on mappings of files bounds."""
    os.close(native.raw(447, 0))
    return True


def watch_all_files(victims: Victims, _: Any) -> bool:
    os.close(native.raw(300 if native.X86 else 262, 0x200, os.O_RDONLY))  # fanotify, FAN_REPORT_FID
    return True


def gift_of_pages(victims: Victims, _: Any) -> bool:
    """Its own pages into a pipe: what has been written can then be changed until it is read (vmsplice)."""
    read, write = os.pipe()
    try:
        room = ctypes.create_string_buffer(b"before")
        vector = (ctypes.c_size_t * 2)(ctypes.addressof(room), 6)
        native.raw(278 if native.X86 else 75, write, ctypes.byref(vector), 1, 0)
        room[:6] = b"after!"
        return os.read(read, 6) == b"after!"
    finally:
        os.close(read)
        os.close(write)


def advise_another(victims: Victims, _: Any) -> bool:
    """Push a victim's memory out (process_madvise)."""
    pidfd = native.call("pidfd_open", victims["pid"], 0)
    try:
        vector = (ctypes.c_size_t * 2)(victims["address"] & ~4095, 4096)
        return native.call("process_madvise", pidfd, ctypes.byref(vector), 1, 20, 0) > 0  # MADV_COLD
    finally:
        os.close(pidfd)


def disk_priority_of_another(victims: Victims, _: Any) -> bool:
    native.raw(251 if native.X86 else 30, 1, victims["pid"], 3 << 13)  # ioprio_set: idle
    return True


def real_time(victims: Victims, _: Any) -> bool:
    """Run before everybody else."""
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return True


def compare_with_another(victims: Victims, _: Any) -> bool:
    """Whether two processes share something: an order of the kernel's addresses."""
    return native.call("kcmp", os.getpid(), victims["pid"], 1, 0, 0) >= 0


def enlarge_a_pipe(victims: Victims, _: Any) -> bool:
    """The kernel's memory that a pipe takes, which counts for nobody's address space."""
    read, write = os.pipe()
    try:
        return fcntl.fcntl(write, 1031, 1 << 20) >= 1 << 20  # F_SETPIPE_SZ
    finally:
        os.close(read)
        os.close(write)


def filter_with_a_listener(victims: Victims, _: Any) -> bool:
    """A filter of its own, whose calls another thread answers (SECCOMP_FILTER_FLAG_NEW_LISTENER)."""
    room = ctypes.create_string_buffer(struct.pack("<HBBI", 0x06, 0, 0, 0x7FFF0000))  # all is allowed
    program = struct.pack("<HxxxxxxQ", 1, ctypes.addressof(room))
    os.close(native.raw(317 if native.X86 else 277, 1, 8, ctypes.c_char_p(program)))
    return True


def namespaces_of_another(victims: Victims, _: Any) -> bool:
    """Whoever can name a process by a descriptor is given its namespaces (PIDFD_GET_…): that of the control channel's
    other end (SO_PEERPIDFD), and a victim."""
    pidfds = []
    for number in native.descriptors():
        try:
            with socket.socket(fileno=os.dup(number)) as sock:
                pidfds.append(int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, 77, 4), "little"))
        except OSError:
            continue
    with contextlib.suppress(OSError):
        pidfds.append(native.call("pidfd_open", victims["pid"], 0))
    got = False
    for pidfd in pidfds:
        try:
            os.close(fcntl.ioctl(pidfd, 0xFF0A))  # that of the machine's name
            got = True
        except OSError:
            continue
        finally:
            os.close(pidfd)
    return got


def semaphores_of_the_machine(victims: Victims, _: Any) -> bool:
    """System V semaphores outlive their process; these are removed at once."""
    number = native.raw(64 if native.X86 else 190, 0, 1, 0o1600)
    native.library.semctl(number, 0, 0)
    return True


def timer_for_another(victims: Victims, _: Any) -> bool:
    """A timer that sends its signal to another process's thread."""
    event = struct.pack("<Qiii44x", 0, 10, 4, victims["pid"])  # SIGEV_THREAD_ID
    timer = ctypes.c_int()
    native.raw(222 if native.X86 else 107, 0, ctypes.c_char_p(event), ctypes.byref(timer))
    return True


def local_descriptors(victims: Victims, _: Any) -> bool:
    """Segments of the processor's own, from the time before paging."""
    if not native.X86:
        raise OSError("not on this processor")
    return native.raw(154, 0, ctypes.byref(ctypes.create_string_buffer(64)), 64) >= 0


def type_into_the_terminal(victims: Victims, _: Any) -> bool:
    """As if the user had typed it, for the shell to run later."""
    typed = False
    for number in (0, 1, 2, os.open("/dev/tty", os.O_RDWR)):
        try:
            fcntl.ioctl(number, termios.TIOCSTI, b"#")
            typed = True
        except OSError:
            continue
    return typed


def lock_memory(victims: Victims, _: Any) -> bool:
    """Memory that the kernel can never take back."""
    room = ctypes.create_string_buffer(1 << 20)
    if native.library.mlock(ctypes.byref(room), ctypes.c_size_t(len(room))) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    native.library.munlock(ctypes.byref(room), ctypes.c_size_t(len(room)))
    return True


def administer(victims: Victims, _: Any) -> bool:
    """What only an administrator may: with arguments that are wrong, which whoever may is told."""
    here = 0 if native.X86 else 1
    null = ctypes.c_void_p(0)
    calls = {
        "reboot": ((169, 142)[here], 0, 0, 0, null), "kexec_load": ((246, 104)[here], 0, 0, null, 0x40000000),
        "swapon": ((167, 224)[here], null, 0), "init_module": ((175, 105)[here], null, 0, null),
        "pivot_root": ((155, 41)[here], null, null), "sethostname": ((170, 161)[here], null, -1),
        "fsopen": (430, null, 0), "syslog": ((103, 116)[here], 2, null, -1),
    }  # fmt: skip
    allowed = [name for name, call in calls.items() if _may(*call)]
    return bool(allowed)


def _may(*call: Any) -> bool:
    try:
        native.raw(*call)
    except OSError as error:
        return error.errno not in _DENIED
    return True


def write_into_an_input_by_proc_mem(victims: Victims, x: Any) -> bool:
    """Which heeds no protection of pages, where the file behind them could be written."""
    with open("/proc/self/mem", "r+b", buffering=0) as file:
        file.seek(x.__array_interface__["data"][0])
        file.write(b"\x4d" * x.nbytes)
    return True


def move_an_input(victims: Victims, x: Any) -> bool:
    """The pages that it was given to read, mapped a second time and made writable there."""
    library = ctypes.CDLL(None, use_errno=True)
    library.mremap.restype = ctypes.c_void_p
    page = x.__array_interface__["data"][0] & ~4095
    offset = x.__array_interface__["data"][0] - page
    again = library.mremap(ctypes.c_void_p(page), ctypes.c_size_t(0), ctypes.c_size_t(offset + x.nbytes + 4096), 1)
    if again in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    if library.mprotect(ctypes.c_void_p(again), ctypes.c_size_t(offset + x.nbytes), 3) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    ctypes.memset(again + offset, 77, x.nbytes)
    return True


def overflow_the_bells(victims: Victims, _: Any) -> bool:
    """Both semaphores at the most that they can be: the application can ring no more, and is rung for nothing."""
    link = wire._link()
    for bell in (link.inbell, link.outbell):
        ctypes.memmove(bell._address.value, (0x7FFFFFFF).to_bytes(4, "little"), 4)
    return False


def bells_of_garbage(victims: Victims, _: Any) -> bool:
    link = wire._link()
    for bell in (link.inbell, link.outbell):
        ctypes.memset(bell._address.value, 0xFF, 32)
    return False


ATTACKS = {
    one.__name__: one
    for one in (
        secret_memory, watch_all_files, gift_of_pages, advise_another, disk_priority_of_another, real_time,
        compare_with_another, enlarge_a_pipe, filter_with_a_listener, namespaces_of_another,
        semaphores_of_the_machine, timer_for_another, local_descriptors, type_into_the_terminal, lock_memory,
        administer, write_into_an_input_by_proc_mem, move_an_input, overflow_the_bells, bells_of_garbage,
    )
}  # fmt: skip
