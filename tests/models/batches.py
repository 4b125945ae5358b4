"""A model whose callers are run together: each row says what is to happen, and each answer how many rows there were."""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later.

import os
import signal
import time

import numpy as np

from isopod import worker

DIES, RAISES, DROPS, PAIRS, NAMES, HANGS, YIELDS = -1, -2, -3, -4, -5, -6, -7


class Rows:
    """``x`` is float64 (rows, ...). ``seen`` is a folder that gets a file for each run; ``until`` is a file that is
    waited for; ``deadly`` says how often a row may kill; ``hint`` is ignored.
    """

    def __init__(self, seen="", scale=2):
        self.seen = seen
        self.scale = scale
        self.runs = 0
        self.kept = None

    def __call__(self, x, until="", keep=False, deadly=10**6, hint=None, **more):
        first = x[(slice(None),) + (0,) * (x.ndim - 1)]
        self.runs += 1
        if self.seen:
            name = f"{time.monotonic_ns()}-" + ",".join(str(int(value)) for value in first)
            with open(os.path.join(self.seen, name), "w"):
                pass
        if (first == DIES).any():
            killed = sum("-" + str(DIES) in name or "," + str(DIES) in name for name in os.listdir(self.seen))
            if killed <= deadly:
                os.kill(os.getpid(), signal.SIGKILL)
        while until and not os.path.exists(until):
            time.sleep(0.001)
        if (first == HANGS).any():
            time.sleep(3600)
        if (first == YIELDS).any():
            while not worker.cancelled():
                time.sleep(0.001)
            raise RuntimeError("nobody wants it")
        if (first == RAISES).any():
            raise ValueError("a bad row")
        if keep:
            self.kept = x
        if (first == DROPS).any():
            return {"y": x[1:]}
        if (first == PAIRS).any():
            return {"y": x, "pairs": [1, 2]}
        if (first == NAMES).any():
            return {"y": x, "mean": np.mean(x)}
        size = np.full(len(x), len(x))
        return {"y": x * self.scale, "size": size, "pid": os.getpid(), **more}


def texts(text, word=""):
    """Each text twice; and how many there were."""
    return {
        "twice": np.array([one + one for one in text.tolist()], dtype=object),
        "size": np.full(len(text), len(text)),
    }


def echo(**inputs):
    return inputs


def apart(image, threshold, anchors=None):
    return {"above": (image > threshold).sum(axis=1), "size": np.full(len(image), len(image))}
