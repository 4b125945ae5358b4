"""A model that meets its end in any way (see ``ways``), in any phase: by orders that it finds, or by its call.

``model(way="sigkill")`` meets it in a call, ``phase="outputs"`` while its outputs are written, ``"idle"`` in a thread
that waits for orders, and ``"drain"`` in a call that goes on until the worker is told to drain.
"""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later.

import os
import threading
import time

import numpy as np
import ways

ways.obey("import")


class Unshown:
    """An output that ends the worker when it is converted."""

    def __init__(self, way):
        self.way = way

    def __array__(self, dtype=None, copy=None):
        ways.meet(self.way)
        return np.zeros(1)


class Dying:
    def __init__(self):
        ways.obey("load")

    def __call__(self, x=None, way="", phase="call"):
        if phase == "idle":
            threading.Thread(target=self.until_ordered, daemon=True).start()
        elif phase == "outputs":
            return {"y": Unshown(way)}
        elif way:
            self.in_call(way, phase)
        return {"y": np.asarray(0 if x is None else x) * 2, "pid": os.getpid()}

    def in_call(self, way, phase):
        if phase in ("drain", "replaced"):
            self.until_draining()
        ways.meet(way)

    @staticmethod
    def until_ordered():
        while not ways.ordered("idle"):
            time.sleep(0.001)
        way = ways.ordered("idle")
        os.unlink(ways.ORDERS)
        ways.meet(way)

    @staticmethod
    def until_draining():
        link = ways.link()
        ways.sign("begun")
        while not link.draining:
            time.sleep(0.001)

    def close(self):
        ways.obey("close")
