# mypy: ignore-errors
"""Starts processes, in each way that models have, and ends in each way that they may."""

import contextlib
import ctypes
import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import time


def start(how, **more):
    return globals()["_" + how](**more)


def _python():
    code = "import numpy, os; print(int(numpy.arange(5).sum()), os.getpid() > 2)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {"output": done.stdout.split()}


def _shell():
    done = subprocess.run("echo 10; echo True", shell=True, capture_output=True, text=True, check=True)
    return {"output": done.stdout.split()}


def _pool(method):
    with multiprocessing.get_context(method).Pool(2) as pool:
        return {"output": [str(sum(pool.map(abs, [-1, -2, -3, -4]))), "True"]}


def _executor():
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
        return {"output": [str(sum(pool.map(abs, [-1, -2, -3, -4]))), "True"]}


def _shared(name):
    with open("/dev/shm/" + name, "x") as file:
        file.write("x")
    return {"names": os.listdir("/dev/shm")}


def _fork():
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, b"10 True")
        os._exit(3)
    _, status = os.waitpid(child, 0)
    return {"output": os.read(read, 100).decode().split() if os.WEXITSTATUS(status) == 3 else []}


def _loader(batches):
    import torch

    loader = torch.utils.data.DataLoader(_Rows(), batch_size=2, num_workers=2, collate_fn=_stacked)
    return {"sums": [float(batch.sum()) for batch in loader][:batches]}


class _Rows:
    def __len__(self):
        return 8

    def __getitem__(self, index):
        import numpy as np

        return np.full(3, index, "f4")


def _stacked(rows):
    import numpy as np

    return np.stack(rows)


def _daemons(size=3):
    """Processes in sessions of their own, whose parents are gone: they hold everything that the worker has open."""
    read, write = os.pipe()
    for _ in range(size):
        child = os.fork()
        if child == 0:
            os.setsid()
            if os.fork() == 0:
                ctypes.CDLL(None).prctl(1, 0)  # nor do they die with whoever started them
                os.write(write, b"x")
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                time.sleep(600)
            os.read(read, 1)
            os._exit(0)
        os.waitpid(child, 0)
    return {"started": size}


_kept = []


def _keep_lifeline():
    """Whatever it has of pipes, opened for writing, and silenced: their end is never told of."""
    for number in range(3, 64):
        try:
            fcntl.fcntl(number, fcntl.F_SETFL, 0)
            _kept.append(os.open(f"/proc/self/fd/{number}", os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            continue
    return {"kept": len(_kept)}


def _end(by):
    _daemons()
    if by == "pipes":  # as if somebody had written into those that it only reads
        for number in range(3, 64):
            with contextlib.suppress(OSError):
                os.write(os.open(f"/proc/self/fd/{number}", os.O_WRONLY | os.O_NONBLOCK), b"\n")
    if by in ("exit", "pipes"):
        os._exit(7)
    if by == "abort":
        os.abort()
    if by == "fault":
        ctypes.string_at(0)
    if by == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if by == "group":
        os.kill(0, signal.SIGKILL)
    if by == "everybody":
        os.kill(-1, signal.SIGKILL)
        os._exit(7)  # which spared itself
    time.sleep(600)


def _numbers():
    try:
        os.kill(-1, 0)
        others = "some"
    except OSError as error:
        others = error.strerror
    return {"pid": os.getpid(), "parent": os.getppid(), "others": others}


def _bomb(size):
    """How many processes there can be, each of which waits to be ended; they are, with the worker."""
    started = 0
    try:
        while started < size:
            if os.fork() == 0:
                time.sleep(600)
                os._exit(0)
            started += 1
    except OSError as error:
        return {"started": started, "why": error.strerror}
    return {"started": started, "why": ""}


def _memory(size):
    """In a child."""
    child = subprocess.Popen(
        [sys.executable, "-c", f"x = bytearray({size}); print(1, flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    child.stdout.readline()
    return {"pid": child.pid}
