"""Models for fleets: which worker answered, on which processors, and how often a call was seen."""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later.

import os
import signal
import time

import numpy as np


def touch(path):
    with open(path, "a") as file:
        file.write(".")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class Member:
    """``seen`` is a file that grows by a dot whenever a model sees the call; it is ``deadly`` for so many times."""

    def __init__(self, version=1, flag=""):
        self.version = version
        if flag and os.path.exists(flag):
            raise OSError("this version does not load")
        self.kept = []

    def __call__(self, x=0, seen="", deadly=0, until="", leak=0, **more):
        if seen:
            touch(seen)
            if os.path.getsize(seen) <= deadly:
                die()
        while until and not os.path.exists(until):
            time.sleep(0.001)
        if leak:
            self.kept.append(np.ones(leak, np.uint8))
        return {"x": x, "pid": os.getpid(), "version": self.version, **more}

    def close(self):
        self.kept = []


def placed(**_):
    return {
        "cpus": sorted(os.sched_getaffinity(0)),
        "omp": os.environ.get("OMP_NUM_THREADS", ""),
        "pid": os.getpid(),
    }


class Barren:
    """Loads, and dies at once, as long as ``flag`` is there."""

    def __init__(self, flag):
        if os.path.exists(flag):
            die()

    def __call__(self, dies=False):
        if dies:
            die()
        return {"pid": os.getpid()}
