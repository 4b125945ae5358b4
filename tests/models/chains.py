"""A stage of a chain: adds one into shared memory, and tells how and where it saw its input."""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later.

import ctypes
import mmap
import os
import signal

import numpy as np
from basic import place

from isopod import worker


class Stage:
    def __init__(self):
        self.kept = None

    def __call__(self, x=None, do="add", **more):
        return getattr(self, "do_" + do)(x, **more)

    def do_add(self, x, seen="", until=""):
        """Dies at the first call that has ``seen``; takes until the file ``until`` is there."""
        if seen and not os.path.exists(seen):
            with open(seen, "w"):
                pass
            os.kill(os.getpid(), signal.SIGKILL)
        while until and not os.path.exists(until):
            pass
        y = worker.empty(x.shape, x.dtype)
        np.add(x, 1, out=y)
        return {"y": y, "writable": bool(x.flags.writeable), "pid": os.getpid(), **place(x)}

    def do_text(self, x):
        return {"y": np.array(["one", "🦐"])}

    def do_same(self, x):
        return {"y": x[1:]}

    def do_sum(self, x):
        return {"y": float(x.sum())}

    def do_keep(self, x):
        self.kept = x
        return {}

    def do_kept(self, x):
        return {"y": self.kept.copy()}

    def do_let_go(self, x):
        self.kept = None
        return {}

    def do_in_place(self, x):
        x += 1
        return {"y": x}

    def do_by_force(self, x):
        ctypes.memset(x.__array_interface__["data"][0], 77, x.nbytes)
        return {}

    def do_by_descriptor(self, x):
        """Write to whatever file of its size lies behind a descriptor, also one that is opened anew."""
        written, refused = 0, 0
        for number in map(int, os.listdir("/proc/self/fd")):
            try:
                same = os.fstat(number).st_ino == place(x)["inode"]
            except OSError:
                continue
            for mode in (None, os.O_RDWR) if same else ():
                try:
                    fd = number if mode is None else os.open(f"/proc/self/fd/{number}", mode)
                    mapped = mmap.mmap(fd, os.fstat(fd).st_size)
                    mapped[:] = bytes(len(mapped))
                    written += 1
                except OSError:
                    refused += 1
        return {"written": written, "refused": refused}

    def do_mapped(self, x):
        """The files of shared memory that this process sees, by inode."""
        with open("/proc/self/maps") as maps:
            return {"inodes": sorted({int(line.split()[4]) for line in maps if "isopod-" in line})}
