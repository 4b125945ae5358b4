"""The doorbell: how one side of a mailbox wakes the other, where that is parked.

It is one POSIX semaphore in shared memory. Ringing costs a system call only when somebody sleeps. The parent makes it
through ``posix_ipc`` and takes its name away at once, in the same breath: what travels is a descriptor of its memory.
So no name is ever left behind, even by a SIGKILL, and the child needs neither ``posix_ipc`` nor ``/dev/shm``: it uses
the same semaphore through the C library. (Opening it by name in the child was tried: the name then has to live
through the hand-shake, and a parent killed in between leaves it there for ever.)

A semaphore orders memory on every processor: what was written before ``ring()`` is seen after ``wait()``.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import mmap
import os
import time
import weakref

from isopod.ipc.errors import InternalError, SandboxUnavailable

_MAX_PARK = 1.0  # seconds: the semaphore's clock is the wall clock, which may jump; ours is monotonic
_HOUR_NS = 3_600_000_000_000
_TRUSTLESS = 8  # bytes of a semaphore that anybody may write
_F_ADD_SEALS, _SHRINK_AND_GROW = 1033, 2 | 4  # <linux/fcntl.h>
_WRITABLE = mmap.PROT_READ | mmap.PROT_WRITE
_OWN_PAGE_THERE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x10  # MAP_FIXED


class ParentDoorbell:
    """The parent's end, through ``posix_ipc``. It creates the semaphore and owns its memory's descriptor."""

    __slots__ = ("_interrupted", "_nobody", "_semaphore", "fd")

    def __init__(self) -> None:
        import posix_ipc

        self._interrupted = posix_ipc.SignalError
        self._nobody = posix_ipc.BusyError
        name = "isopod-" + os.urandom(16).hex()
        self._semaphore = posix_ipc.Semaphore("/" + name, posix_ipc.O_CREX, mode=0o600, initial_value=0)
        try:
            self.fd = _open_semaphore_file(name)
        finally:
            self._semaphore.unlink()

    def ring(self) -> None:
        try:
            self._semaphore.release()
        except OSError:  # EOVERFLOW
            return  # a hostile child has set the counter to its maximum: nobody can be asleep then

    def try_wait(self) -> bool:
        """Take one ring if there is one."""
        try:
            self._semaphore.acquire(0)
        except self._nobody:
            return False
        return True

    def wait(self, deadline_ns: int = 0) -> bool:
        """Park until it rings; False when ``time.monotonic_ns()`` passes ``deadline_ns`` (0: no deadline)."""
        while True:
            timeout = _park_time(deadline_ns)
            if timeout < 0:
                return self.try_wait()
            try:
                self._semaphore.acquire(timeout)
            except self._nobody:
                continue
            except self._interrupted:
                continue  # the interpreter runs the signal's handler before it comes back here
            return True

    def close(self) -> None:
        if self.fd >= 0:
            self._semaphore.close()
            os.close(self.fd)
            self.fd = -1


class _Timespec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class _Mapped:
    """A semaphore at an address of this process, through the C library."""

    __slots__ = ("_post", "_try_wait", "_until", "_until_ns", "_wait")

    def __init__(self, library: ctypes.CDLL, address: int) -> None:
        semaphore = ctypes.byref(ctypes.c_char.from_address(address))  # what ctypes passes on as it is
        # Neither of these two ever blocks, so the interpreter's lock is kept: that takes half as long.
        quick = ctypes.PyDLL(None)
        self._post = functools.partial(quick.sem_post, semaphore)
        self._try_wait = functools.partial(quick.sem_trywait, semaphore)
        self._until = _Timespec()
        self._until_ns = 0  # the same moment on the monotonic clock
        self._wait = functools.partial(library.sem_timedwait, semaphore, ctypes.byref(self._until))

    def ring(self) -> None:
        self._post()  # where the counter is at its maximum, nobody can be asleep

    def try_wait(self) -> bool:
        return bool(self._try_wait() == 0)

    def wait(self, deadline_ns: int = 0) -> bool:
        """Park until it rings; False when ``time.monotonic_ns()`` passes ``deadline_ns`` (0: no deadline).

        One thread at a time.
        """
        while True:
            now = time.monotonic_ns()
            last = deadline_ns or now + _HOUR_NS
            if last <= now:
                return self.try_wait()
            # It may end early and begin again, so one moment that is far enough away does for many calls.
            if not (now + last) // 2 < self._until_ns <= last:
                self._set_until(now, last)
            if self._wait() == 0:
                return True
            if ctypes.get_errno() not in (errno.EINTR, errno.ETIMEDOUT):
                raise InternalError("sem_timedwait failed: " + os.strerror(ctypes.get_errno()))
            self._until_ns = 0  # the wall clock may have jumped past that moment: waiting for it again would not sleep

    def _set_until(self, now: int, last: int) -> None:
        end = time.time() + (last - now) / 1e9
        self._until.seconds = int(end)
        self._until.nanoseconds = int((end - int(end)) * 1e9)
        self._until_ns = last


class ChildDoorbell(_Mapped):
    """The child's end, in memory received from the parent, whichever kind of end that has.

    It stays mapped for as long as the process lives, by the C library and not by Python's ``mmap``: that keeps a
    descriptor, by which a model could cut the file short and have its parent die of SIGBUS. It cannot be sealed.
    """

    __slots__ = ()

    def __init__(self, fd: int) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        size = os.fstat(fd).st_size
        address = _map(library, fd)
        os.close(fd)
        super().__init__(library, address + mmap.PAGESIZE - _TRUSTLESS if size > mmap.PAGESIZE else address)


class GuardedDoorbell(_Mapped):
    """The parent's end where the child is not trusted: a call takes half a microsecond more than by ``ParentDoorbell``.

    A semaphore begins with its counter and its number of sleepers, 8 bytes, and goes on with how the C library is to
    ask the kernel to wait (glibc from 2.21 on, musl). Whatever stands in the first, no harm is done; of nonsense in the
    second, glibc ends the process. So it lies across the edge of a page: the first page is shared, and the next one is
    this process's own. Raises ``SandboxUnavailable`` where semaphores are not so, ``OSError`` without memory.
    """

    __slots__ = ("__weakref__", "fd")

    def __init__(self) -> None:
        _check_semaphores()
        library = ctypes.CDLL(None, use_errno=True)
        page = mmap.PAGESIZE
        self.fd = os.memfd_create("isopod-bell", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.fd, 2 * page)
            fcntl.fcntl(self.fd, _F_ADD_SEALS, _SHRINK_AND_GROW)
            address = _map(library, self.fd)
            semaphore, second = ctypes.c_void_p(address + page - _TRUSTLESS), ctypes.c_void_p(address + page)
            done = library.sem_init(semaphore, 1, 0) == 0  # for the child
            done = done and library.mmap(second, page, _WRITABLE, _OWN_PAGE_THERE, -1, 0) == second.value
            done = done and library.sem_init(semaphore, 1, 0) == 0  # for ourselves
            if not done or library.mprotect(second, ctypes.c_size_t(page), mmap.PROT_READ) != 0:
                raise InternalError("a doorbell cannot be guarded: " + os.strerror(ctypes.get_errno()))
        except BaseException:  # goes on to the caller, and the descriptor does not stay
            os.close(self.fd)
            raise
        # Whoever can ring holds on to this object: the memory is there for as long.
        unmap = library.munmap
        unmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        weakref.finalize(self, unmap, address, 2 * page).atexit = False
        super().__init__(library, address + page - _TRUSTLESS)

    def close(self) -> None:
        """Give the descriptor back."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _check_semaphores() -> None:
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (OSError, ValueError):  # it is another C library
        return
    if name == "glibc" and tuple(int(part) for part in version.split(".")[:2]) < (2, 21):
        raise SandboxUnavailable(f"semaphores of glibc {version} cannot be guarded from a model; it needs glibc 2.21")


def _map(library: ctypes.CDLL, fd: int) -> int:
    """Map a whole file readable, writable and shared; its address."""
    call = library.mmap
    call.restype = ctypes.c_void_p
    call.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    address = call(None, os.fstat(fd).st_size, _WRITABLE, mmap.MAP_SHARED, fd, 0)
    if address is None or address == ctypes.c_void_p(-1).value:
        raise InternalError("a doorbell cannot be mapped: " + os.strerror(ctypes.get_errno()))
    return int(address)


def _park_time(deadline_ns: int) -> float:
    """Seconds to park for, at most; negative when the deadline has passed."""
    if not deadline_ns:
        return _MAX_PARK
    return min((deadline_ns - time.monotonic_ns()) / 1e9, _MAX_PARK)


def _open_semaphore_file(name: str) -> int:
    # glibc puts "sem." before the name, musl does not.
    for path in ("/dev/shm/sem." + name, "/dev/shm/" + name):
        try:
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
    raise InternalError("a new POSIX semaphore has no file in /dev/shm; this C library is not supported")
