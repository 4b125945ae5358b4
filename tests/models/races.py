"""Models for the tests of races: what they do at the wrong moment is in their names."""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later.

import gc
import os
import sys
import time

import numpy as np


def touch(path):
    with open(path, "w"):
        pass


def wait_for(path):
    while path and not os.path.exists(path):
        time.sleep(0.001)


class Tracker:
    """Keeps the frame before this one, as trackers and recurrent models do."""

    def __init__(self):
        self.before = None

    def __call__(self, frame, seen=""):
        before, self.before = self.before, frame
        if seen:
            touch(seen)
        return {"sum": float(frame.sum()) + (0.0 if before is None else float(before.sum()))}


class Patient:
    """Says that it has begun, and waits."""

    def __call__(self, begun="", until="", x=0):
        if begun:
            touch(begun)
        wait_for(until)
        return {"x": np.full(8, x), "pid": os.getpid()}


class SlowToLoad:
    """Loads at once if ``flag`` is not there yet; else for ever."""

    def __init__(self, flag):
        while os.path.exists(flag):
            time.sleep(0.001)

    def __call__(self, die=False):
        if die:
            os._exit(1)
        return {"pid": os.getpid()}


def link():
    """The worker's end of everything. (Looking for it in frames would keep the call's inputs alive.)"""
    (found,) = [thing for thing in gc.get_objects() if type(thing).__name__ == "Link"]
    return found


class Hostile:
    """A worker that was taken over by its model."""

    def __call__(self, do="", **more):
        if not do:
            return {"pid": os.getpid()}
        return getattr(self, "do_" + do)(**more)

    def do_stacks(self):
        """Stacks that are nothing but our own frames, and death."""
        folder = os.path.dirname(sys.modules["isopod.ipc.record"].__file__)
        lines = f'  File "{folder}/x.py", line 1 in f\n' * 3
        with open("/proc/self/cmdline", "rb") as file:
            faults = int(file.read().split(b"bootstrap.py\0worker\0")[1].split(b"\0")[1])
        os.write(faults, lines.encode())
        os._exit(9)

    def do_return_twice(self, x):
        """Give an input back through the ring, and then by the answer as well."""
        ours = link()
        lease = sys.modules["isopod.ipc.lease"].lease_of(x)
        ours.return_writer.waiting.append(lease.token)
        return {"pid": os.getpid()}
