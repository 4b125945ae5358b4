# mypy: ignore-errors
"""Attacks by processes that the worker has started, or makes others start. Where they are to outlive it, they name
themselves as the harness says: it ends the worker then, and looks for them."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import subprocess
import time
from typing import Any

import native
import wire

Victims = dict[str, Any]
_SECONDS = 600


def _fork() -> int:
    """Not Python's, by which we have each fork die with its parent."""
    child = native.library.fork()
    if child < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return child


def _name(victims: Victims) -> None:
    native.library.prctl(15, ctypes.c_char_p(victims["stays"].encode()), 0, 0, 0)


def grandchild_that_stays(victims: Victims, _: Any) -> dict[str, Any]:
    """A process in a session of its own, which outlives whoever started it."""
    read, write = os.pipe()
    child = _fork()
    if child == 0:
        if _fork() == 0:
            os.setsid()
            _name(victims)
            os.write(write, b"x")
            time.sleep(_SECONDS)
        os._exit(0)
    os.waitpid(child, 0)
    os.read(read, 1)
    os.close(read)
    os.close(write)
    return {"outcome": "succeeded", "why": "", "stays": 1}


def channel_kept_by_a_child(victims: Victims, _: Any) -> bool:
    """It holds all that the worker has open, when that has long ended; and then speaks for it."""
    read, write = os.pipe()
    if _fork() == 0:
        os.setsid()
        _name(victims)
        os.write(write, b"x")
        until = time.monotonic() + _SECONDS
        while time.monotonic() < until:
            wire.frames_of_garbage(victims, None)
            wire.flood_the_bell(victims, None)
            time.sleep(0.05)
    os.read(read, 1)
    os._exit(3)


def child_that_goes_on_writing(victims: Victims, _: Any) -> bool:
    """Random words into the worker's half of the shared memory, while the worker answers, and goes on to answer."""
    link = wire._link()
    memory = link._outbox_control.map
    if _fork() == 0:
        chance = random.Random(11)
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            at = chance.randrange(0, len(memory) - 8)
            memory[at : at + 8] = chance.randbytes(8)
            link.outbell.ring()
        os._exit(0)
    return False


def fork_bomb(victims: Victims, _: Any) -> bool:
    """As many as it can, and no more than are needed to show it. Each waits, and all are ended again."""
    children: list[int] = []
    try:
        while len(children) < victims["processes"]:
            child = _fork()
            if child == 0:
                signal.pause()
                os._exit(0)
            children.append(child)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return True


def child_of_the_application(victims: Victims, _: Any) -> bool:
    """The kernel makes a brother of it (CLONE_PARENT), which nobody expects, and nobody ends."""
    child = native.library.syscall(56 if native.X86 else 220, 0x8000 | int(signal.SIGCHLD), 0, 0, 0, 0)
    if child < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    if child == 0:
        native.library._exit(0)
    return True


def end_its_group(victims: Victims, _: Any) -> bool:
    os.kill(0, signal.SIGKILL)
    return False


def program_of_root(victims: Victims, _: Any) -> bool:
    """A program that runs as its owner, root, whoever starts it."""
    if os.geteuid() == 0 or not victims["setuid"]:
        raise OSError("there is none, or it is root already")
    done = subprocess.run([victims["setuid"], "-u"], capture_output=True, check=True, stdin=subprocess.DEVNULL)
    return done.stdout.strip() == b"0"


def memory_of_the_first_process(victims: Victims, _: Any) -> bool:
    """Of the machine, or of its namespace: opened, never read."""
    with open("/proc/1/mem", "rb"):
        return True


def number_of_a_process(victims: Victims, _: Any) -> bool:
    """Whether there is a process of that number."""
    return os.path.exists(f"/proc/{victims['pid']}")


ATTACKS = {
    one.__name__: one
    for one in (
        grandchild_that_stays, channel_kept_by_a_child, child_that_goes_on_writing, fork_bomb, child_of_the_application,
        end_its_group, program_of_root, memory_of_the_first_process, number_of_a_process,
    )
}  # fmt: skip
