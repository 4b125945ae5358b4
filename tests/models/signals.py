"""A model that meets a fatal signal, by really doing what brings it about where that can be done from Python."""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later.

import os
import resource
import signal
import sys
import threading

from ways import sigbus, sigsegv, stack_overflow  # noqa: F401  (called by name)


def abort():
    os.abort()


def raise_fpe():
    signal.pthread_kill(threading.get_ident(), signal.SIGFPE)


def raise_ill():
    signal.pthread_kill(threading.get_ident(), signal.SIGILL)


def run_out_of_memory():
    """As a process with a limit on its addresses does, whose library gives up."""
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    try:
        bytearray(1 << 40)
    except MemoryError as error:
        print("MemoryError:", error or "1 TiB", file=sys.stderr)
        os.abort()


def meet(way):
    globals()[way]()


def f(way="", thread=False, image=None, threshold=None):
    if way and thread:
        other = threading.Thread(target=meet, args=(way,))
        other.start()
        other.join()
    elif way:
        meet(way)
    return {"pid": os.getpid()}
