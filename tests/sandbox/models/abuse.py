# mypy: ignore-errors
"""Takes what it can: processors, memory, threads, descriptors, room on disk, room in the log."""

import os
import sys
import tempfile
import threading
import time


def abuse(how, seconds=0.0, size=0):
    return globals()["_" + how](seconds, size)


def _burn(seconds, size):
    def spin():
        until = time.monotonic() + seconds
        data = bytearray(1 << 20)
        import hashlib

        while time.monotonic() < until:
            hashlib.sha256(data).digest()  # lets go of the interpreter's lock: as many processors as threads

    threads = [threading.Thread(target=spin) for _ in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"outcome": "burnt"}


def _memory(seconds, size):
    """Touched, piece by piece, up to a size that the test says."""
    pieces = []
    try:
        for _ in range(size >> 24):
            pieces.append(bytearray(1 << 24))
    except MemoryError:
        return {"outcome": "refused", "got": len(pieces) << 24}
    return {"outcome": "got", "got": len(pieces) << 24}


def _threads(seconds, size):
    """Each has a stack of 8 MiB of address space, and waits."""
    threading.stack_size(8 << 20)
    go = threading.Event()
    threads = []
    outcome = "got"
    try:
        for _ in range(size):
            thread = threading.Thread(target=go.wait)
            thread.start()
            threads.append(thread)
    except (RuntimeError, MemoryError):
        outcome = "refused"
    go.set()
    for thread in threads:
        thread.join()
    return {"outcome": outcome, "got": len(threads)}


def _one_file(seconds, size):
    """More than one file may hold."""
    try:
        with open(os.path.join(tempfile.gettempdir(), "big"), "wb") as file:
            for _ in range(size >> 16):
                file.write(bytes(1 << 16))
    except OSError as error:
        return {"outcome": "refused", "why": str(error)}
    return {"outcome": "got"}


def _many_files(seconds, size):
    """Each within its bound, all of them beyond it; then it waits to be ended."""
    for number in range(4 * size >> 16):
        with open(os.path.join(tempfile.gettempdir(), f"small-{number}"), "wb") as file:
            file.write(bytes(1 << 16))
    time.sleep(600)


def _deleted_files(seconds, size):
    """Without a name, and open."""
    kept = []
    for _ in range(4):
        path = os.path.join(tempfile.gettempdir(), "deleted")
        file = open(path, "wb")  # noqa: SIM115
        os.unlink(path)
        file.write(bytes(size - 4096))
        file.flush()
        kept.append(file)
    time.sleep(600)


def _deep_files(seconds, size):
    """Further down than a path can say."""
    os.chdir(tempfile.gettempdir())
    for _ in range(30):
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
    with open("file", "wb") as file:
        file.write(bytes(4096))
    time.sleep(600)


def _log(seconds, size):
    until = time.monotonic() + seconds
    lines = 0
    while time.monotonic() < until:
        print("x" * 1000)
        print("y" * 1000, file=sys.stderr)
        lines += 2
    return {"outcome": "logged", "lines": lines}


def calm(x):
    return x + 1
