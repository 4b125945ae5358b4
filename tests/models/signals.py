"""A model that meets a fatal signal, by really doing what brings it about where that can be done from Python."""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later.

import ctypes
import mmap
import os
import resource
import signal
import sys
import tempfile
import threading


def read_a_null_page():
    ctypes.string_at(8)


def abort():
    os.abort()


def read_behind_the_end_of_a_file():
    with tempfile.TemporaryFile() as file:
        file.truncate(2 * mmap.PAGESIZE)
        memory = mmap.mmap(file.fileno(), 2 * mmap.PAGESIZE)
        file.truncate(mmap.PAGESIZE)
        return memory[mmap.PAGESIZE]


def raise_fpe():
    signal.pthread_kill(threading.get_ident(), signal.SIGFPE)


def raise_ill():
    signal.pthread_kill(threading.get_ident(), signal.SIGILL)


def overflow_the_stack():
    """Native frames between Python ones, with no limit on either."""
    sys.setrecursionlimit(1 << 30)

    def deeper():
        return again()

    again = ctypes.CFUNCTYPE(ctypes.c_int)(deeper)
    again()


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
