"""A sealed, anonymous piece of memory that two processes map.

A segment has no name, so nothing is left in ``/dev/shm`` whoever dies first, a container's limit on ``/dev/shm`` does
not bind it, and nobody else can open it. It is sealed against shrinking (a shrunk file kills its readers with SIGBUS)
and against growing. The parent creates every segment and hands its descriptor over; a child only attaches.

A *protected* segment is sealed against writing, too, once its maker has mapped it: whoever attaches it can only read.
(A seal against all writing was tried: the kernel refuses it while its maker's own mapping is there.)

What a worker writes into can be given to others as well, who may only read it: ``reader`` is a descriptor for them. It
puts the same seal on, where the segment was made to be *shareable*: its writer has mapped it by then, and goes on
writing. Without the seal, a descriptor for reading can be opened anew through /proc, for writing, by whoever means to.

Where the kernel lets us, a large segment is made of *huge pages*, 2 MB each: they are there in a quarter of the time
that as many small ones take, each process has one mapped with one fault, and arithmetic over 16 MB takes a quarter to
a third less. The kernel, as it is set up almost everywhere, gives none to shared memory by itself, but to whoever asks
by ``MADV_COLLAPSE`` (Linux 6.1), if the mapping lies at a multiple of their size. Python's ``mmap`` lies anywhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import threading
import time
from typing import Any

from isopod.ipc.errors import ProtocolError, SandboxUnavailable

# From <linux/fcntl.h> and <linux/mman.h>; Python names them only in later versions.
_F_ADD_SEALS, _F_GET_SEALS = 1033, 1034
_SEAL_SEAL, _SEAL_SHRINK, _SEAL_GROW, _SEAL_FUTURE_WRITE = 1, 2, 4, 16
_SIZE_SEALS = _SEAL_SHRINK | _SEAL_GROW
_SEALS = _SIZE_SEALS | _SEAL_SEAL
_MADV_POPULATE_WRITE, _MADV_COLLAPSE = 23, 25
_MAP_FIXED = 0x10

HUGE = 2 << 20  # bytes of a huge page where a small one has 4096; with others we do not ask for them
# Where memory is in pieces, the kernel moves others' pages until 2 MB are free in a row. For longer than it takes to
# provide small ones, several times over, that is not worth it.
_PATIENCE_NS = 5_000_000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)

_descriptors = threading.Lock()


def _unlock_after_fork() -> None:
    """In a forked copy of the process there is no thread that could still release it."""
    global _descriptors
    _descriptors = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock_after_fork)


class Segment:
    """Shared memory of a fixed size, mapped readable and, unless it is attached and protected, writable. Whoever made
    it closes it. ``protected`` is also what was attached by a descriptor for reading.

    ``map`` is a buffer of all of it, and outlives ``close()`` for as long as an array uses it: closing gives the
    descriptor back, the memory goes with the last view.
    """

    __slots__ = ("__weakref__", "_address", "_fd", "_huge", "map", "protected", "size")

    map: Any

    def __init__(self, fd: int, size: int, *, protected: bool = False, writable: bool = True) -> None:
        self._fd = fd
        self.size = size
        self.protected = protected
        # What is only read needs what Python 3.8 brought.
        self._huge = size >= HUGE and mmap.PAGESIZE == 4096 and (writable or hasattr(memoryview, "toreadonly"))
        self._address = 0
        if self._huge:
            self.map, self._address = _map_aligned(fd, size, writable)
        else:
            self.map = mmap.mmap(fd, size, access=mmap.ACCESS_DEFAULT if writable else mmap.ACCESS_READ)

    @classmethod
    def create(cls, size: int, label: str = "isopod", *, protected: bool = False, shareable: bool = False) -> Segment:
        """Make a new, zeroed, sealed segment of ``size`` bytes. Raises ``OSError`` where the machine has no memory,
        ``SandboxUnavailable`` where it cannot be protected.

        A ``shareable`` one is for one process to write into: another seal can follow when others are to read it.
        """
        seals = (_SIZE_SEALS if shareable else _SEALS) | (_SEAL_FUTURE_WRITE if protected else 0)
        fd = _anonymous_file(label)
        try:
            os.ftruncate(fd, size)
            made = cls(fd, size, protected=protected)
            try:
                fcntl.fcntl(fd, _F_ADD_SEALS, seals)
            except OSError as error:
                # Without memfd there are no seals either (EINVAL): the size is then only checked, not enforced.
                if protected:
                    raise SandboxUnavailable(
                        f"shared memory cannot be sealed against writing here ({error.strerror}); it needs "
                        "memfd_create and Linux 5.1"
                    ) from None
            return made
        except BaseException:  # whatever it was, it goes on to the caller; the descriptor must not stay
            os.close(fd)
            raise

    @classmethod
    def attach(cls, fd: int) -> Segment:
        """Map a segment that was received as a descriptor, and own that descriptor."""
        size = os.fstat(fd).st_size
        if size <= 0:
            os.close(fd)
            raise ProtocolError("a received segment is empty")
        protected = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        with contextlib.suppress(OSError):  # it is no memfd
            protected = protected or bool(fcntl.fcntl(fd, _F_GET_SEALS) & _SEAL_FUTURE_WRITE)
        return cls(fd, size, protected=protected, writable=not protected)

    @property
    def address(self) -> int:
        """Where this process sees the first byte."""
        if not self._address:
            if self.protected:  # ctypes takes only what can be written to
                import numpy as np

                self._address = int(np.frombuffer(self.map, np.uint8, 1).__array_interface__["data"][0])
            else:
                self._address = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        return self._address

    @property
    def sealed(self) -> bool:
        """Whether the kernel refuses to change the size."""
        try:
            return fcntl.fcntl(self._fd, _F_GET_SEALS) & _SIZE_SEALS == _SIZE_SEALS
        except OSError:
            return False

    def fileno(self) -> int:
        return self._fd

    def duplicate(self) -> int:
        """A descriptor of its own for the same memory. Raises ``OSError`` where the segment was closed.

        RACE late descriptor: without the lock, the number could be another file's by the time that it is copied.
        """
        with _descriptors:
            if self._fd < 0:
                raise OSError(errno.EBADF, "the segment was closed")
            return os.dup(self._fd)

    def reader(self) -> int:
        """A descriptor of its own through which the memory can be read and never be written.

        Whoever writes into a shareable segment must have mapped it by now: nobody can map it for writing from here on.
        Raises ``OSError`` where the segment was closed, or where there is no /proc.
        """
        with _descriptors:
            if self._fd < 0:
                raise OSError(errno.EBADF, "the segment was closed")
            # Refused where it is sealed for good (EPERM), where its writer has seen to that, without memfd and before
            # Linux 5.1 (EINVAL): then what the descriptor is for holds, until somebody goes round it.
            with contextlib.suppress(OSError):
                fcntl.fcntl(self._fd, _F_ADD_SEALS, _SEAL_FUTURE_WRITE | _SEAL_SEAL)
            return os.open(f"/proc/self/fd/{self._fd}", os.O_RDONLY | os.O_CLOEXEC)

    def populate(self, start: int, end: int) -> int:
        """Have the kernel provide fresh pages from ``start`` to ``end`` now, or up to where it returns: a copy into
        fresh ones takes ten times as long as into warm ones.
        """
        grain = HUGE if self._huge else mmap.PAGESIZE
        start, end = start // grain * grain, min(-(-end // grain) * grain, self.size)
        whole = end // HUGE * HUGE
        if self._huge:
            start = self._collapse(start, whole)
        if start < end:
            # Kernels before 5.14 do not know the advice (EINVAL); pages then come as they are touched. By ctypes,
            # because the mapping's own method lets no other thread run meanwhile.
            _libc.madvise(self.address + start, end - start, _MADV_POPULATE_WRITE)
        return end

    def _collapse(self, start: int, end: int) -> int:
        """Have huge pages from ``start`` to ``end``, multiples of their size; up to where they are there."""
        for place in range(start, end, HUGE):
            address, began = self.address + place, time.monotonic_ns()
            _libc.madvise(address, mmap.PAGESIZE, _MADV_POPULATE_WRITE)  # where none is there yet, it is refused
            if _libc.madvise(address, HUGE, _MADV_COLLAPSE) != 0:
                return place
            if time.monotonic_ns() - began > _PATIENCE_NS:
                self._huge = False
                return place + HUGE
        return end

    def close(self) -> None:
        """Give the descriptor back. The memory stays mapped until the last array that uses it is gone."""
        with _descriptors:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1


def _map_aligned(fd: int, size: int, writable: bool) -> tuple[memoryview, int]:
    """Map a file at a multiple of ``HUGE``: a buffer of it, and its address.

    The buffer belongs to a mapping of nothing, which is longer by as much as is needed to find such an address in it;
    the file is laid over that. So Python takes both away when nobody uses the buffer any more.
    """
    room = mmap.mmap(-1, size + HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    begin = ctypes.addressof(ctypes.c_char.from_buffer(room))
    skipped = -begin % HUGE
    protection = mmap.PROT_READ | mmap.PROT_WRITE if writable else mmap.PROT_READ
    if _libc.mmap(begin + skipped, size, protection, mmap.MAP_SHARED | _MAP_FIXED, fd, 0) != begin + skipped:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    view = memoryview(room)[skipped : skipped + size]
    return view if writable else view.toreadonly(), begin + skipped


def _anonymous_file(label: str) -> int:
    try:
        return os.memfd_create(label, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except AttributeError:
        pass
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM, errno.EINVAL):
            raise
    return _unlinked_file()


def _unlinked_file() -> int:
    """The same without memfd: a named object that loses its name before anybody else can know it."""
    import posix_ipc

    name = "/isopod-" + os.urandom(16).hex()
    memory = posix_ipc.SharedMemory(name, posix_ipc.O_CREX, mode=0o600)
    memory.unlink()
    os.set_inheritable(memory.fd, False)
    return int(memory.fd)
