"""What holds a worker in place: it dies with its parent, keeps to itself, and leaves no core behind.

The *lifeline* is a pipe that nobody writes to. When the parent dies, in whatever way, the kernel sends SIGKILL to
this process's whole group for the end of it, however stuck the worker is and whatever the model has started. The end
of the control channel does the same from a thread (see ``link``), should the model have closed the lifeline. A
parent-death signal was tried instead: it ends this process alone and first, and leaves nobody to end the rest of the
group. It serves only where the kernel cannot bind a pipe.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import select
import signal

STACKS_SIGNAL = signal.SIGRTMAX - 1  # the parent sends it to see where a worker hangs

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15  # <linux/prctl.h>
_F_SETSIG = 10  # <linux/fcntl.h>


def hold(lifeline: int, *, forks_follow: bool = True) -> None:
    """Set all of it up, in the child, before anything is loaded.

    ``forks_follow``: what this process forks is to end with it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the application's to handle
    library = ctypes.CDLL(None, use_errno=True)
    if not _bind_group(lifeline):
        library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if _is_over(lifeline):  # the parent died before the lines above
        end_group()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core of gigabytes would delay the news of a crash
    try:
        # Rather a worker than the application, when the kernel must choose.
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")
    except OSError:
        pass  # not ours to set in this container; nothing depends on it
    if forks_follow and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_set_own_death_signal(library))


def _bind_group(lifeline: int) -> bool:
    """Have the kernel kill this process group when the other end of ``lifeline`` is closed: fcntl(2), F_SETOWN."""
    os.set_inheritable(lifeline, False)
    try:
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, _F_SETSIG, int(signal.SIGKILL))
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    except OSError:
        return False
    return True


def _is_over(lifeline: int) -> bool:
    poll = select.poll()
    poll.register(lifeline, 0)  # the other end's end is told without being asked for
    return bool(poll.poll(0))


def name_process(name: str) -> None:
    """What ``top`` and ``ps`` show for the main thread; the kernel keeps 15 bytes."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, ctypes.c_char_p(("iso:" + name).encode()[:15]), 0, 0, 0)


def end_group() -> None:
    """Kill this process and whatever it forked."""
    if os.getpgrp() == os.getpid():
        with contextlib.suppress(PermissionError):  # a strict worker may not, and has forked nothing
            os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _set_own_death_signal(library: ctypes.CDLL):  # type: ignore[no-untyped-def]
    """A fork loses the parent-death signal; what a model forks must go with the model."""
    return lambda: library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
