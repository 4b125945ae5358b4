"""A namespace of processes: what a model starts sees no other process, signals none, and ends with its worker.

Such a namespace begins with a further process, and all others in it are ended with that one. So this process forks
twice, and stays outside as the *warden*, which is all that the application has started, and is told of::

    application
      └─ warden        waits; ends as the worker has ended, and only when all others are gone
           ├─ first    number 1 inside: does nothing, and its end is everybody's
           └─ worker   number 2: locks itself, and loads the model

The worker is not number 1 itself: the kernel keeps signals from that one, so it could not even abort. Nor is it the
child of number 1: the warden would then have to be told how it has ended. Whoever outlives its parent in there becomes
the first one's child, and is reaped by the kernel, as it asks for.

If the warden dies, the kernel ends both others for it; it dies with the application, by the lifeline that it holds, or
as its parent's thread ends. Neither it nor the first one is locked, and neither runs code of the model, has a
capability, or can be named by the worker: the warden has no number inside, and the first one cannot be traced.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import resource
import signal
from typing import List, NoReturn

from isopod.opeworker.guard import capabilities, limits, native
from isopod.opeworker.guard.hold import STACKS_SIGNAL
from isopod.opeworker.guard.native import Unavailable

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4  # <linux/prctl.h>
_OTHERS = 2  # the warden and the first one count, too
_RESERVED = 300  # numbers that the kernel does not use again: RESERVED_PIDS in kernel/pid.c


def begin(lifeline: int) -> List[int]:
    """Go on as the worker, in the new namespace that the next fork begins; returns what the first process and this one
    are numbered outside. Raises ``Unavailable``.
    """
    ready, say_ready = os.pipe()
    told, tell = os.pipe()
    first = os.fork()
    if first == 0:
        _be_first(say_ready)
    os.close(say_ready)
    if not os.read(ready, 1):
        raise Unavailable("namespaces", "the first process of its own has ended", "was it killed?")
    os.close(ready)
    worker = os.fork()
    if worker:
        os.write(tell, f"{first} {worker}".encode())
        _be_warden(first, worker, lifeline)
    native.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    os.close(tell)
    # The warden has it. A pipe can be opened anew for writing, by its name in /proc, and whatever is written into this
    # one kills the group of who was its owner before the fork: the warden, before all others are gone.
    if lifeline >= 0:
        os.close(lifeline)
    os.setsid()  # a signal to its own group would otherwise end the warden
    numbers = os.read(told, 100).split()
    os.close(told)
    if not numbers:  # RACE early end: the warden was dead before the signal for its death was asked for
        os._exit(1)
    return [int(number) for number in numbers]


def bound(most: int) -> str:
    """Let there be ``most`` processes and threads inside. Raises ``Unavailable`` where nothing enforces it.

    The kernel counts a user's processes by user namespace, but not root's. There a namespace of processes has a highest
    number, from Linux 6.14 on. Before that it is the machine's own, and root must not write it.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    limit = most + _OTHERS if hard == resource.RLIM_INFINITY else min(most + _OTHERS, hard)
    resource.setrlimit(resource.RLIMIT_NPROC, (1, limit))
    binds = not _can_fork()
    resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))
    if binds:
        return f"at most {most} processes and threads"
    release = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2] if part.isdigit())
    try:
        if release < (6, 14):
            raise OSError(0, f"Linux {os.uname().release}")
        with open("/proc/sys/kernel/pid_max", "w", encoding="ascii") as file:
            file.write(str(_RESERVED + most))
    except OSError as error:
        raise Unavailable(
            "a bound on processes",
            f"root is not counted, and there is no highest number for a namespace ({error.strerror})",
            "it needs Linux 6.14, or another user than root",
        ) from None
    return f"at most {most + _RESERVED} processes and threads"


def _can_fork() -> bool:
    try:
        child = os.fork()
    except OSError:
        return False
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return True


def _be_first(say_ready: int) -> NoReturn:
    try:
        native.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        native.prctl(_PR_SET_DUMPABLE, 0)
        faulthandler.disable()
        for number in range(1, signal.NSIG):
            with contextlib.suppress(OSError, ValueError):  # some cannot be set
                signal.signal(number, signal.SIG_DFL)  # of number 1: ignored, whoever inside has sent it
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps its children
        capabilities.keep_only(())
        limits.close_all_but((say_ready,))
        # RACE early end: fails where the warden was dead before its death's signal was asked for.
        os.write(say_ready, b"1")
        os.close(say_ready)
        while True:
            signal.pause()
    finally:
        os._exit(1)


def _be_warden(first: int, worker: int, lifeline: int) -> NoReturn:
    code = 1
    try:
        # A second lifeline, as the worker has one.
        native.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        signal.signal(STACKS_SIGNAL, lambda *_: os.kill(worker, STACKS_SIGNAL))
        capabilities.keep_only(())
        limits.close_all_but((lifeline,))  # the ends of all others are the worker's to close
        ended = status = 0
        while ended != first:  # the kernel tells of its end when all others inside are gone, and reaped
            ended, how = os.wait()
            if ended == worker:
                status = how
                os.kill(first, signal.SIGKILL)
        if os.WIFSIGNALED(status):
            code = 128 + os.WTERMSIG(status)
            with contextlib.suppress(OSError):  # SIGKILL's cannot be set
                signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
            os.kill(os.getpid(), os.WTERMSIG(status))
        else:
            code = os.WEXITSTATUS(status)
    finally:
        os._exit(code)
