# mypy: ignore-errors
"""Attacks on what the kernel offers: its stranger calls, other calling conventions, memory, descriptors, threads.

None of them takes real memory: address space is only reserved, and given back.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import threading
from typing import Any

import native

Victims = dict[str, Any]
SPACE = 40 << 30  # bytes: more than a strict worker's address space by default
STEP = 1 << 30


def io_uring(victims: Victims, _: Any) -> bool:
    os.close(native.call("io_uring_setup", 4, ctypes.byref(ctypes.create_string_buffer(120))))
    return True


def userfaultfd(victims: Victims, _: Any) -> bool:
    os.close(native.call("userfaultfd", 1))  # UFFD_USER_MODE_ONLY
    return True


def bpf(victims: Victims, _: Any) -> bool:
    attributes = (ctypes.c_uint32 * 8)(2, 4, 4, 1)  # an array map
    os.close(native.call("bpf", 0, ctypes.byref(attributes), ctypes.sizeof(attributes)))
    return True


def perf_event(victims: Victims, _: Any) -> bool:
    attributes = (ctypes.c_uint32 * 32)(1, 128)  # a software counter: the processor's clock
    os.close(native.call("perf_event_open", ctypes.byref(attributes), 0, -1, -1, 0))
    return True


def keyring(victims: Victims, _: Any) -> bool:
    key = native.call(
        "add_key", ctypes.c_char_p(b"user"), ctypes.c_char_p(b"isopod-attack"), ctypes.c_char_p(b"x"), 1, -2
    )
    native.call("keyctl", 3, key)  # revoked
    return True


def mount(victims: Victims, _: Any) -> bool:
    where = ctypes.c_char_p(victims["mountpoint"].encode())
    native.call("mount", ctypes.c_char_p(b"none"), where, ctypes.c_char_p(b"tmpfs"), 0, None)
    return True


def unshare(victims: Victims, _: Any) -> bool:
    native.call("unshare", 0x04000000)  # a namespace for the machine's name, for this thread
    return True


def setns(victims: Victims, _: Any) -> bool:
    descriptor = os.open(f"/proc/{os.getppid()}/ns/uts", os.O_RDONLY)
    try:
        native.call("setns", descriptor, 0)
    finally:
        os.close(descriptor)
    return True


def clone_namespace(victims: Victims, _: Any) -> bool:
    child = native.library.syscall(56 if native.X86 else 220, 0x10000000 | int(signal.SIGCHLD), 0, 0, 0, 0)
    if child < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    if child == 0:
        native.library._exit(0)
    os.waitpid(child, 0)
    return True


def _run(code: bytes) -> int:
    """Execute machine code."""
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(code)
    function = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
    return int(function())


def writable_code(victims: Victims, _: Any) -> bool:
    return _run(b"\xb8\x2a\0\0\0\xc3" if native.X86 else b"\x40\x05\x80\xd2\xc0\x03\x5f\xd6") == 42


def int80(victims: Victims, _: Any) -> bool:
    """getpid by the 32-bit convention, in which that number is another call's."""
    if not native.X86:
        raise OSError("not on this processor")
    return _run(b"\x53\xb8\x14\0\0\0\xcd\x80\x5b\xc3") == os.getpid()


def x32(victims: Victims, _: Any) -> bool:
    if not native.X86:
        raise OSError("not on this processor")
    return native.raw(0x40000000 + 39) == os.getpid()


_kept = []  # memory that a thread runs in


def descriptors_of_a_thread(victims: Victims, _: Any) -> bool:
    """A thread with a table of descriptors of its own: as many again, and the application sees none of them."""
    if not native.X86:
        raise OSError("not on this processor")
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    _kept.append(memory)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    flags = 0x100 | 0x200 | 0x800 | 0x10000  # CLONE_VM, CLONE_FS, CLONE_SIGHAND, CLONE_THREAD, and no CLONE_FILES
    memory.write(
        b"\xb8\x38\0\0\0\xbf" + flags.to_bytes(4, "little")  # clone: flags,
        + b"\x48\xbe" + (start + mmap.PAGESIZE - 64).to_bytes(8, "little")  # stack,
        + b"\x31\xd2\x4d\x31\xd2\x4d\x31\xc0\x0f\x05"  # and nothing else
        + b"\x48\x85\xc0\x74\x01\xc3"  # what it returns, and in the thread:
        + b"\xb8\x22\0\0\0\x0f\x05\xeb\xf7"  # pause, again and again
    )  # fmt: skip
    thread = int(ctypes.CFUNCTYPE(ctypes.c_long)(start)())
    if thread < 0:
        raise OSError(-thread, os.strerror(-thread))
    return True


def memory_file(victims: Victims, _: Any) -> bool:
    os.close(native.call("memfd_create", ctypes.c_char_p(b"attack"), 0))
    return True


def shared_segment(victims: Victims, _: Any) -> bool:
    """System V shared memory outlives its process; this one is removed at once."""
    number = native.call("shmget", 0, 4096, 0o1600)
    native.library.shmctl(number, 0, None)
    return True


def message_queue(victims: Victims, _: Any) -> bool:
    name = ctypes.c_char_p(b"isopod-attack")
    os.close(native.call("mq_open", name, os.O_CREAT | os.O_RDWR, 0o600, None))
    native.library.mq_unlink(ctypes.c_char_p(b"/isopod-attack"))
    return True


def memory_by_mapping(victims: Victims, _: Any) -> bool:
    maps = []
    try:
        for _ in range(SPACE // STEP):
            maps.append(mmap.mmap(-1, STEP, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000))  # NORESERVE
    finally:
        reserved = len(maps) * STEP
        for one in maps:
            one.close()
    return reserved >= SPACE


def memory_by_shared_mapping(victims: Victims, _: Any) -> bool:
    maps = []
    try:
        for _ in range(SPACE // STEP):
            maps.append(mmap.mmap(-1, STEP, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | 0x4000))
    finally:
        for one in maps:
            one.close()
    return True


def memory_by_heap(victims: Victims, _: Any) -> bool:
    native.library.malloc.restype = ctypes.c_void_p
    native.library.malloc.argtypes = [ctypes.c_size_t]
    native.library.free.argtypes = [ctypes.c_void_p]
    pieces = []
    for _ in range(SPACE // STEP):
        piece = native.library.malloc(STEP - 4096)  # never touched
        if piece:
            pieces.append(piece)
    for piece in pieces:
        native.library.free(piece)
    return len(pieces) == SPACE // STEP


def descriptors(victims: Victims, _: Any) -> bool:
    opened = []
    try:
        for _ in range(victims["descriptors"]):
            opened.append(os.open("/dev/null", os.O_RDONLY))
    finally:
        for one in opened:
            os.close(one)
    return True


def raise_limit(victims: Victims, _: Any) -> bool:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, 1 << 20))
    return resource.getrlimit(resource.RLIMIT_CORE)[1] == 1 << 20


def core_dump(victims: Victims, _: Any) -> bool:
    import resource

    return resource.getrlimit(resource.RLIMIT_CORE)[1] > 0


def regain_capabilities(victims: Victims, _: Any) -> bool:
    """Everything that it may still have, and CAP_SYS_PTRACE, CAP_SYS_ADMIN on top."""
    header = ctypes.c_char_p((0x20080522).to_bytes(4, "little") + bytes(4))
    wanted = (1 << 19 | 1 << 21).to_bytes(4, "little")
    native.call("capset", header, ctypes.c_char_p(wanted + wanted + bytes(16)))
    return True


def new_privileges(victims: Victims, _: Any) -> bool:
    return native.call("prctl", 39, 0, 0, 0, 0) == 0  # PR_GET_NO_NEW_PRIVS


def become_dumpable_to_all(victims: Victims, _: Any) -> bool:
    native.call("prctl", 0x59616D61, -1, 0, 0, 0)  # PR_SET_PTRACER_ANY
    return True


def forget_its_parent(victims: Victims, _: Any) -> bool:
    """Without the parent-death signal it could outlive the application."""
    native.call("prctl", 1, 0, 0, 0, 0)
    return True


def change_personality(victims: Victims, _: Any) -> bool:
    native.call("personality", 0x0040000)  # ADDR_NO_RANDOMIZE
    return True


def threads_survive(victims: Victims, _: Any) -> bool:
    """No attack: threads must work, or frameworks do not."""
    seen: list[int] = []
    made = [threading.Thread(target=seen.append, args=(number,)) for number in range(8)]
    for one in made:
        one.start()
    for one in made:
        one.join()
    return len(seen) == 8


def stop_itself(victims: Victims, _: Any) -> bool:
    os.kill(os.getpid(), signal.SIGSTOP)
    return True


def crash(victims: Victims, _: Any) -> bool:
    ctypes.string_at(0)
    return True


def secret_variable(victims: Victims, _: Any) -> bool:
    if os.environ.get("ISOPOD_ATTACK_SECRET") == victims["marker"]:
        return True
    return b"ISOPOD_ATTACK_SECRET" in open("/proc/self/environ", "rb").read()


ATTACKS = {
    one.__name__: one
    for one in (
        io_uring, userfaultfd, bpf, perf_event, keyring, mount, setns, clone_namespace, writable_code, int80, x32,
        memory_file, shared_segment, message_queue, memory_by_mapping, memory_by_shared_mapping, memory_by_heap,
        descriptors, raise_limit, core_dump, regain_capabilities, new_privileges, become_dumpable_to_all,
        forget_its_parent, change_personality, threads_survive, stop_itself, crash, secret_variable, unshare,
        descriptors_of_a_thread,
    )
}  # fmt: skip
