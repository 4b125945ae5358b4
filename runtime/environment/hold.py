"""A hold on a published environment: while there is one, in whatever process, nobody removes that environment.

It is a shared lock (flock) on the environment's own folder, so it needs no file of its own, holds in a store that
cannot be written to, and ends with the process that has it, however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path


class Hold:
    """Held from its making until ``release``, or until it is dropped."""

    __slots__ = ("__weakref__", "_descriptor")

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Twice is once."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)  # no LOCK_UN, which would end the lock of a process that we were forked from

    def __del__(self) -> None:
        self.release()


# RACE fork in mid-hold: held while a folder is opened, and while this process is forked, so that the copy knows which
# descriptors it has. It closes them: what it was forked from holds on.
_opening = threading.Lock()
_held: weakref.WeakSet[Hold] = weakref.WeakSet()


def hold(folder: Path) -> Hold | None:
    """Hold the environment in ``folder``; None if it is gone. Waits while it is removed, or looked at for that."""
    with _opening:
        try:
            held = Hold(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        except OSError:
            return None
        _held.add(held)
    try:
        fcntl.flock(held._descriptor, fcntl.LOCK_SH)
    except OSError:  # a file system without locks: nobody can remove it by our rules, either
        return held
    # RACE late hold: it may have been taken away by its name before it was locked
    return held if _is_there(folder, held._descriptor) else None


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Whether nobody holds the environment in ``folder``; nobody comes to hold it while the block runs."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        free = _is_there(folder, descriptor)
    except OSError:
        free = False
    try:
        yield free
    finally:
        os.close(descriptor)


def _is_there(folder: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(folder), os.fstat(descriptor))
    except OSError:
        return False


def _after_fork() -> None:
    _opening.release()
    for held in list(_held):
        held.release()


os.register_at_fork(before=_opening.acquire, after_in_parent=_opening.release, after_in_child=_after_fork)
