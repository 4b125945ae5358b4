"""Small models for the tests of calls: what they do is in their names."""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later.

import collections
import os
import sys
import threading
import time

import numpy as np

from isopod import worker

Pair = collections.namedtuple("Pair", ["low", "high"])
KEPT = []
GATE = threading.Event()


def double(x):
    return {"y": x * 2}


def with_default(x, factor=3):
    return {"y": x * factor}


def anything(**inputs):
    return inputs


def no_inputs():
    return {"pid": os.getpid()}


def named_pair(x):
    return Pair(x.min(), x.max())


def two(x):
    return x, x + 1


def just_one(x):
    return x + 1


class Scale:
    """``Scale(factor)(x)``: x times the factor, and how many calls there were."""

    def __init__(self, factor=1.0, offset=0):
        self.factor = factor
        self.offset = offset
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return {"y": x * self.factor + self.offset, "calls": self.calls}

    def close(self):
        print("closed after", self.calls)


class Outer:
    class Inner:
        @staticmethod
        def run(x):
            return {"y": x + 100}


class Swiss:
    """One model that does many things, so that one worker serves many tests."""

    def __init__(self):
        self.kept = None
        self.calls = 0

    def __call__(self, do, x=None, **more):
        self.calls += 1
        return getattr(self, "do_" + do)(x, **more)

    def do_echo(self, x, **more):
        return {"x": x, **more}

    def do_double(self, x):
        return {"y": x * 2}

    def do_describe(self, x):
        return {"type": str(type(x)), "dtype": str(getattr(x, "dtype", "")), "shape": list(getattr(x, "shape", ()))}

    def do_pid(self, x):
        return {"pid": os.getpid(), "calls": self.calls}

    def do_raise(self, x):
        try:
            raise KeyError("the inner reason")
        except KeyError as inner:
            raise ValueError("the outer reason: " + str(x)) from inner

    def do_exit(self, x):
        sys.exit(5)

    def do_interrupt(self, x):
        raise KeyboardInterrupt

    def do_unprintable(self, x):
        class Unprintable(Exception):
            def __str__(self):
                raise RuntimeError("no text")

        raise Unprintable

    def do_long_error(self, x):
        raise ValueError("long " * 100_000)

    def do_recurse(self, x):
        return self.do_recurse(x)

    def do_missing_module(self, x):
        import no_such_module_at_all  # noqa: F401

    def do_return(self, x):
        return {
            "none": None,
            "set": {"a": {1, 2}},
            "object": {"a": object()},
            "int keys": {1: 2},
            "deep int keys": {"a": {1: 2}},
            "datetime": np.zeros(2, "M8[s]"),
            "object array": {"a": np.array([object()])},
            "long name": {"n" * 300: 1},
            "huge int": {"a": 2**70},
            "long text": {"a": "x" * 300_000},
            "many": {f"a{number}": x for number in range(5000)},
        }[x]

    def do_sleep(self, x):
        time.sleep(float(x))
        return {"slept": float(x)}

    def do_print(self, x):
        for number in range(int(x)):
            print("line", number)
        print("last words", file=sys.stderr)
        return {"printed": int(x)}

    def do_keep(self, x, **more):
        self.kept = x
        return {"sum": float(x.sum()), **more}

    def do_kept(self, x):
        return {"sum": float(self.kept.sum()), "values": self.kept.copy()}

    def do_let_go(self, x):
        self.kept = None
        return {}

    def do_hand_over(self, x):
        """Return what was kept from an earlier call, and let it go."""
        kept, self.kept = self.kept, None
        return {"kept": kept}

    def do_slice(self, x):
        return {"part": x[1:], "whole": x, "flat": x.reshape(-1)[3:7]}

    def do_in_place(self, x):
        x += 1
        return {"x": x}

    def do_shared(self, x):
        """An output that was made in shared memory, and views of it."""
        out = worker.empty((4, 8), "float32")
        out[:] = np.arange(32).reshape(4, 8)
        return {"whole": out, "part": out[1:3], "turned": out.reshape(8, 4), **place(out)}

    def do_private(self, x):
        return {"out": np.ones((4, 8), np.float32)}

    def do_same(self, x):
        """The same memory again and again."""
        if self.kept is None:
            self.kept = worker.empty(16, "int64")
            self.kept[:] = 7
        return {"same": self.kept, "again": self.kept}

    def do_place(self, x):
        return place(x)

    def do_large(self, x):
        return {"large": worker.empty(int(x), "uint8")}

    def do_large_private(self, x):
        return {"large": np.zeros(int(x), "uint8")}

    def do_wait_for_file(self, x):
        """Until a file is there, by name."""
        while not os.path.exists(x):
            time.sleep(0.001)
        return {"seen": x}

    def do_touch(self, x):
        with open(x, "w"):
            pass
        return {}

    def do_broken_pipe(self, x):
        read, write = os.pipe()
        os.close(read)
        try:
            os.write(write, b"anybody?")
        finally:
            os.close(write)

    def do_threads(self, x):
        return {"threads": [thread.name for thread in threading.enumerate()]}

    def do_many_outputs(self, x):
        return {f"output number {number:04d}": np.full(3, number) for number in range(int(x))}


def place(array):
    """Which file an array's bytes lie in and where: (inode, offset), the same in every process that maps it."""
    address = array.__array_interface__["data"][0]
    with open("/proc/self/maps") as maps:
        for line in maps:
            span, _, offset, _, inode = line.split()[:5]
            start, end = (int(part, 16) for part in span.split("-"))
            if start <= address < end:
                return {"inode": int(inode), "offset": int(offset, 16) + address - start}
    raise LookupError(hex(address))
