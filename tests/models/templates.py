"""A model for workers that a template forks: what it imports at its top tells whether somebody was here before."""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later.

import ctypes
import os
import subprocess
import sys
import time

WAS_THERE = "colorsys" in sys.modules
import colorsys  # noqa: E402, F401

import numpy as np  # noqa: E402


class Forked:
    def __init__(self, kept=None):
        self.kept = kept

    def __call__(self, do="tell", x=None):
        return getattr(self, "do_" + do)(x)

    def do_tell(self, x):
        return {
            "pid": os.getpid(),
            "parent": os.getppid(),
            "group": os.getpgrp(),
            "session": os.getsid(0),
            "was_there": WAS_THERE,
            "drawn": float(np.random.random()),
            "cpus": sorted(os.sched_getaffinity(0)),
            "folder": os.path.dirname(os.path.abspath(__file__)) in sys.path,
            "product": float((np.ones((300, 300)) @ np.ones((300, 300))).sum()),
        }

    def do_say(self, x):
        print(x, flush=True)
        return {}

    def do_exit(self, x):
        os._exit(int(x))

    def do_fault(self, x):
        ctypes.string_at(0)

    def do_leave_somebody(self, x):
        return {"pid": subprocess.Popen(["sleep", "3600"]).pid}

    def do_sleep(self, x):
        time.sleep(float(x))
        return {}
