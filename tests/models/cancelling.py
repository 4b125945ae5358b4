"""Models for the tests of deadlines and cancellation: some look whether they are still wanted, some do not."""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later.

import gc
import os
import threading
import time

import numpy as np

from isopod import worker


def touch(path):
    if path:
        with open(path, "w"):
            pass


class Sampler:
    """Does many things, and counts its calls."""

    def __init__(self):
        self.calls = 0
        self.kept = None

    def __call__(self, do="echo", **inputs):
        self.calls += 1
        return getattr(self, "do_" + do)(**inputs)

    def do_echo(self, x=0):
        return {"x": np.asarray(x) * 2, "calls": self.calls, "pid": os.getpid()}

    def do_until_cancelled(self, begun="", x=0):
        worker.cancelled()
        touch(begun)
        while not worker.cancelled():
            time.sleep(0.001)
        return {"stopped": True, "x": np.asarray(x)}

    def do_until_due(self, begun=""):
        """By the clock alone."""
        due = worker.deadline()
        touch(begun)
        while time.monotonic() < due:
            time.sleep(0.001)
        return {"stopped": True}

    def do_raise_when_cancelled(self, begun=""):
        self.do_until_cancelled(begun)
        raise LookupError("stopped in step 17")

    def do_exit_when_cancelled(self, begun=""):
        self.do_until_cancelled(begun)
        os._exit(3)

    def do_look_and_go_on(self, begun=""):
        worker.cancelled()
        touch(begun)
        while True:
            time.sleep(0.001)

    def do_hang(self, begun=""):
        touch(begun)
        while True:
            time.sleep(0.001)

    def do_wait(self, until, begun="", x=0):
        touch(begun)
        while not os.path.exists(until):
            time.sleep(0.001)
        return {"x": np.asarray(x)}

    def do_tell(self):
        due = worker.deadline()
        return {"cancelled": worker.cancelled(), "left": None if due is None else due - time.monotonic()}

    def do_ask_in_a_thread(self):
        """While the call runs, and, in the next call, what the thread saw after it."""
        seen, go = [], threading.Event()

        def ask():
            seen.append([worker.cancelled(), worker.deadline() is not None])
            go.wait(60)
            while worker.deadline() is not None:
                time.sleep(0.001)
            seen.append([worker.cancelled(), worker.deadline() is not None])

        thread = threading.Thread(target=ask)
        thread.start()
        while not seen:
            time.sleep(0.001)
        self.kept = (thread, go, seen)
        return {"seen": seen[0]}

    def do_what_the_thread_saw(self):
        thread, _, seen = self.kept
        return {"alive": thread.is_alive(), "seen": seen}

    def do_let_the_thread_go(self):
        self.kept[1].set()
        return {}

    def do_ask_in_a_fork(self, begun=""):
        """The parent never looks; its child sees that the call is cancelled, and says so."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            touch(begun)
            while not worker.cancelled():
                time.sleep(0.001)
            os.write(write, b"cancelled" if worker.deadline() is None else b"due")
            os._exit(0)
        os.close(write)
        said = os.read(read, 100)
        os.close(read)
        os.waitpid(pid, 0)
        return {"said": said}

    def do_hang_while_a_fork_looks(self):
        pid = os.fork()
        while pid == 0:
            worker.cancelled()
            time.sleep(0.001)
        os.waitpid(pid, 0)

    def do_refuse_the_next(self):
        """A worker that was taken over: it marks a call that nobody cancelled."""
        (link,) = [thing for thing in gc.get_objects() if type(thing).__name__ == "Link"]
        link.cancellations.mark(link.receiver.taken, worker._running.call[1] + 1)
        return {}
