"""The models of the soak: an answer is the call's number, the worker's pid, and the input with every bit turned."""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later.

import collections
import os
import signal
import time

import numpy as np

from isopod import worker

_KEPT = 6  # inputs
_KEPT_BYTES = 1 << 20  # of the largest that is kept


def inverted(x, out=None):
    """Every bit turned; of booleans, the truth."""
    if x.dtype.kind == "b":
        return np.logical_not(x, out=out)
    if out is None:
        out = np.empty(x.shape, x.dtype)
    np.invert(_bytes(x), out=_bytes(out))
    return out


def _bytes(x):
    return x.reshape(-1).view(np.uint8)


def plain(number, x):
    return {"number": number, "pid": os.getpid(), "y": inverted(x)}


class Moody:
    """Slow at random, talkative, and it fails as it is asked to."""

    def __call__(self, number, x, way="answer", seconds=0.0):
        if seconds:
            time.sleep(seconds)
        if way == "raise":
            raise ValueError(f"call {number} was to fail")
        if way == "exit":
            os._exit(3)
        if way == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if way == "print":
            print("call", number, "says", "something " * 20)
        return {"number": number, "pid": os.getpid(), "y": inverted(x)}


class Keeper:
    """Whatever else a model may do with memory: views of inputs, outputs made in place, inputs that it keeps."""

    def __init__(self):
        self.kept = collections.deque()
        self.spoiled = 0  # kept inputs that have changed meanwhile
        self.same = None

    def __call__(self, number, x=None, way="shared", value=None):
        outputs = getattr(self, "do_" + way)(x, value)
        return {"number": number, "pid": os.getpid(), "spoiled": self.spoiled, **outputs}

    def do_shared(self, x, value):
        return {"y": inverted(x, out=worker.empty(x.shape, x.dtype))}

    def do_in_place(self, x, value):
        return {"y": inverted(x, out=x)}

    def do_view(self, x, value):
        return {"y": x, "flat": x.reshape(-1)[1:]}

    def do_keep(self, x, value):
        if x.nbytes <= _KEPT_BYTES:
            self.kept.append((x, x.tobytes() if x.nbytes <= 4096 else hash(x.tobytes())))
        if len(self.kept) > _KEPT:
            self._let_go()
        return {"y": inverted(x)}

    def do_hand_over(self, x, value):
        """An input that was kept from an earlier call goes out as an output, and its own input is kept instead."""
        self.do_keep(x, value)
        if len(self.kept) > 1:
            self._let_go()
        return {"y": inverted(x), "older": self.kept[0][0] if self.kept else 0}

    def do_twice(self, x, value):
        """The same memory goes out again and again, under two names."""
        if self.same is None:
            self.same = worker.empty(16, "int64")
            self.same[:] = np.arange(16)
        return {"y": inverted(x), "same": self.same, "again": self.same[4:]}

    def do_text(self, x, value):
        return {"y": x[::-1], "value": value}

    def do_plain(self, x, value):
        return {"value": value}

    def do_forget(self, x, value):
        while self.kept:
            self._let_go()
        self.same = None
        return {}

    def _let_go(self):
        x, before = self.kept.popleft()
        self.spoiled += before != (x.tobytes() if x.nbytes <= 4096 else hash(x.tobytes()))
