"""A model that dies in any way, in any phase: ``Dying(way, phase)`` and then ``model(die=True)``."""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later.

import ctypes
import os
import signal
import socket
import sys
import threading
import time

import numpy as np

WAY = os.environ.get("ISOPOD_TEST_WAY", "")
PHASE = os.environ.get("ISOPOD_TEST_PHASE", "")
FLAG = os.environ.get("ISOPOD_TEST_FLAG", "")


def os_exit():
    os._exit(3)


def sys_exit():
    sys.exit(7)


def sigkill():
    os.kill(os.getpid(), signal.SIGKILL)


def sigterm():
    os.kill(os.getpid(), signal.SIGTERM)


def sigsegv():
    ctypes.string_at(8)


def sigabrt():
    os.abort()


def thread_exit():
    thread = threading.Thread(target=lambda: os._exit(4))
    thread.start()
    thread.join()
    time.sleep(3600)


def endless():
    while True:
        pass


def stuck_in_native_code():
    library = ctypes.PyDLL(None)  # holds the interpreter's lock
    while True:
        library.sleep(3600)  # a signal ends it early


def garbage_in_ring():
    serve = sys.modules["isopod.opeworker.serve"]
    frame = sys._getframe()
    while not isinstance(frame.f_locals.get("self"), serve.Server):
        frame = frame.f_back
    link = frame.f_locals["self"]._link
    link.answer(b"\xff" * 200)
    time.sleep(3600)


def garbage_on_socket():
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink("/proc/self/fd/" + name).startswith("socket:"):
                channel = socket.socket(fileno=os.dup(int(name)))
                channel.sendall(b"\xff" * 100)
        except OSError:
            continue
    time.sleep(3600)


def close_all():
    os.closerange(3, 4096)
    time.sleep(3600)


def die(way):
    print("about to die by", way, file=sys.stderr)
    globals()[way]()


def _dies_now(phase):
    """Once for each flag file, so that the next worker lives."""
    if phase != PHASE or not os.path.exists(FLAG):
        return False
    os.unlink(FLAG)
    return True


if _dies_now("import"):
    die(WAY)


class Dying:
    def __init__(self):
        if _dies_now("constructor"):
            self.in_constructor()

    def in_constructor(self):
        die(WAY)

    def __call__(self, way="", x=None):
        if way:
            self.in_call(way)
        return {"y": np.asarray(x) * 2 if x is not None else np.zeros(1), "pid": os.getpid()}

    def in_call(self, way):
        if way == "idle":
            threading.Thread(target=self.soon, daemon=True).start()
            return
        die(way)

    def soon(self):
        while not os.path.exists(FLAG):
            time.sleep(0.001)
        die(WAY)

    def close(self):
        if PHASE == "close":
            die(WAY)
