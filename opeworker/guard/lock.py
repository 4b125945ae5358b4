"""A profile, applied: the order in which a worker locks itself, and what it then says of it.

Called once, on the only thread, when everything that is shared is mapped, and before any code of the model, of its
environment or of numpy runs. Locking later was tried, and is unsound: Landlock covers the calling thread and those that
it starts, and importing numpy starts threads, in which a signal's handler then runs unconfined.
"""

from __future__ import annotations

import os
import signal
import tempfile
from typing import Any, Dict, List

from isopod.ipc.errors import ProtocolError
from isopod.opeworker.guard import (
    capabilities,
    landlock,
    limits,
    namespaces,
    native,
    paths,
    priority,
    processes,
    seccomp,
    selftest,
)
from isopod.opeworker.guard.native import Unavailable

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38  # <linux/prctl.h>
_FORM = {
    "profile": str,
    "limits": dict,
    "capabilities": list,
    "readable": list,
    "scratch": str,
    "scratch_size": int,
    "namespaces": bool,
    "processes": int,
    "shared_memory": int,
    "nice": int,
}


def lock(load: Dict[str, Any], own: List[str], lifeline: int = -1) -> Dict[str, Any]:
    """Apply the sandbox that a load message orders, and tell what was done, by mechanism.

    Where the model may start processes, it returns in another process than it was called in. ``own`` are the folders of
    our packages. Raises ``Unavailable`` where a mechanism is missing, ``ProtocolError`` for an order without its form.
    """
    order = load["sandbox"]
    formed = {name: type(value) for name, value in order.items()} == _FORM
    if not formed or (order["processes"] and not order["namespaces"]):
        raise ProtocolError("the sandbox of a load message has the wrong form")
    if order["profile"] == "none":
        return {}
    strict = order["profile"] == "strict"
    done: Dict[str, Any] = {}
    if strict:
        _check_one_thread()
        done = _move_apart(order, lifeline)
    try:
        limits.apply(order["limits"])
    except OSError as error:
        raise Unavailable("limits", str(error.strerror), "ask for others") from None
    try:
        if order["nice"]:
            priority.lower(order["nice"])
    except OSError as error:
        raise Unavailable("a lower priority", str(error.strerror), "nice=0 does without") from None
    native.prctl(_PR_SET_NO_NEW_PRIVS, 1)
    capabilities.keep_only(order["capabilities"])
    return {**done, **_confine(order, load, own)} if strict else done


def _move_apart(order: Dict[str, Any], lifeline: int) -> Dict[str, Any]:
    """Into namespaces of its own, as far as they are ordered."""
    done: Dict[str, Any] = {}
    if not order["namespaces"]:
        return done
    told = namespaces.enter(order["scratch"], order["scratch_size"], order["shared_memory"])
    if order["processes"]:
        done["processes"] = processes.begin(lifeline)
        told += ", " + namespaces.show_own_processes()
        done["bound"] = processes.bound(order["processes"])
    if order["scratch"]:
        told += f"; scratch is {order['scratch_size']} bytes of memory"
    return {**done, "namespaces": told}


def _check_one_thread() -> None:
    try:
        threads = len(os.listdir("/proc/self/task"))
    except OSError as error:
        raise Unavailable("one thread", f"/proc cannot be read ({error.strerror})", "mount /proc") from None
    if threads != 1:
        raise Unavailable("one thread", f"there are {threads} before the lock", "is something preloaded (LD_PRELOAD)?")


def _confine(order: Dict[str, Any], load: Dict[str, Any], own: List[str]) -> Dict[str, Any]:
    """What only ``strict`` has."""
    # The second lifeline: a model can close the first, and keep the thread that listens to the channel from running.
    # Its parent's death before this line is seen at the next message, which is the channel's end.
    native.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    scratch = order["scratch"]
    if scratch:
        _move_into(scratch)
    readable = paths.readable(load["environment"], load["target"], own, order["readable"])
    starts = order["processes"] > 0
    programs = paths.programs(load["environment"], load["target"]) if starts else []
    writable = [folder for folder in (scratch, "/dev/shm" if starts else "") if folder]
    return {
        "landlock": landlock.restrict(landlock.rules(readable, programs, writable)),
        "seccomp": seccomp.install(os.getpid(), starts=starts),
        "refused": selftest.run(starts=starts),
        "readable": readable,
        "programs": programs,
    }


def _move_into(scratch: str) -> None:
    """Let libraries find the only folder that can be written to; TensorFlow asks for some of these as it loads."""
    for name in ("TMPDIR", "HOME", "KERAS_HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR"):
        os.environ[name] = scratch
    tempfile.tempdir = scratch
