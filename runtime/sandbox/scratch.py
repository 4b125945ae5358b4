"""A folder that a strict worker may write to, and who sees to it that no more is in it than was allowed.

The kernel bounds each file; what all of them take together is looked at several times a second, deleted files that are
still open among them, and a worker that has taken more is ended. That contains a model that fills its folder; one that
hides files from the count (deleted, closed, but mapped) is bounded by its address space alone. Folders that cannot be
looked into, because they forbid it or lie too deep, are an excess like any other. A folder whose application was killed
is removed by the next one: a lock that the dead cannot hold tells them apart.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator

from isopod.runtime.keeper import Keeper, Timer

_PREFIX = "isopod-scratch-"
_LOOK_EVERY = 0.2  # seconds
_MOST_FILES = 10_000
_HIDES = (errno.EACCES, errno.ENAMETOOLONG)
_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Scratch:
    """One worker's folder, of ``size`` bytes. ``exceeded(why)`` is called at most once, on the keeper's thread.

    Raises ``OSError`` where there is no place for a folder.
    """

    def __init__(self, size: int, pid: int, keeper: Keeper, exceeded: Callable[[str], None]) -> None:
        sweep()
        self.path = tempfile.mkdtemp(prefix=_PREFIX)
        self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        self._device = os.fstat(self._lock).st_dev
        self._size, self._pid, self._keeper, self._exceeded = size, pid, keeper, exceeded
        self._timer: Timer | None = None
        self._closed = False
        self._look()

    def _look(self) -> None:
        if self._closed:
            return
        why = self._excess()
        if why:
            self._exceeded(why)
            return
        self._timer = self._keeper.after(_LOOK_EVERY, self._look)

    def _excess(self) -> str:
        taken = 0
        try:
            found = (*self._deleted(), *_below(self.path))
        except OSError as error:
            return f"a folder in its scratch folder cannot be looked into ({error.strerror})"
        for files, status in enumerate(found, 1):
            taken += status.st_blocks * 512
            if taken > self._size:
                return f"it filled its scratch folder of {self._size} bytes"
            if files > _MOST_FILES:
                return f"it has more than {_MOST_FILES} files in its scratch folder"
        return ""

    def _deleted(self) -> list[os.stat_result]:
        """Files without a name that it has open, on the device that the folder lies on."""
        found = []
        with contextlib.suppress(OSError):  # it has just died
            for name in os.listdir(f"/proc/{self._pid}/fd"):
                with contextlib.suppress(OSError):
                    status = os.stat(f"/proc/{self._pid}/fd/{name}")
                    if status.st_nlink == 0 and status.st_dev == self._device:
                        found.append(status)
        return found

    def close(self) -> None:
        """The worker is dead: remove the folder. Twice is once."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        _remove(self.path, self._lock)
        os.close(self._lock)


def _below(folder: str) -> list[os.stat_result]:
    """All that is in it. Raises ``OSError`` where something is hidden there."""
    found: list[os.stat_result] = []
    folders = [folder]
    while folders and len(found) <= _MOST_FILES:
        with _unless_hidden(), os.scandir(folders.pop()) as entries:
            for entry in entries:
                with _unless_hidden():
                    found.append(entry.stat(follow_symlinks=False))
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                if len(found) > _MOST_FILES:
                    break
    return found


@contextlib.contextmanager
def _unless_hidden() -> Iterator[None]:
    """Let pass what was removed just now, and that this process has no descriptor left: it is looked at again."""
    try:
        yield
    except OSError as error:
        if error.errno in _HIDES:
            raise


def sweep() -> None:
    """Remove the folders of applications that are no more."""
    with contextlib.suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX) and entry.is_dir(follow_symlinks=False):
                _remove_if_abandoned(entry.path)


def _remove_if_abandoned(path: str) -> None:
    with contextlib.suppress(OSError):  # it is another user's, or somebody else removes it
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(path, descriptor)
        finally:
            os.close(descriptor)


def _remove(path: str, top: int) -> None:
    """Remove the folder of a dead worker, which is open as ``top``, however deep it is and whatever its modes forbid.
    What cannot be removed stays.

    ``shutil.rmtree`` was tried: it calls itself for each level, so that a thousand of them end it by RecursionError.
    Here each folder that is found further down is moved to the top, under a new name, before it is emptied.
    """
    unique = os.urandom(8).hex()
    moved = 0
    waiting = [(".", False)]
    while waiting:
        name, at_top = waiting.pop()
        with contextlib.suppress(OSError):
            folder = _open_anyway(name, top)
            try:
                for entry in _entries(folder):
                    with contextlib.suppress(OSError):
                        if not entry.is_dir(follow_symlinks=False):
                            os.unlink(entry.name, dir_fd=folder)
                        elif at_top:
                            os.close(_open_anyway(entry.name, folder))  # it could not be moved before
                            moved += 1
                            os.rename(entry.name, f"{unique}-{moved}", src_dir_fd=folder, dst_dir_fd=top)
                            waiting.append((f"{unique}-{moved}", True))
                        else:
                            waiting.append((entry.name, True))
            finally:
                os.close(folder)
            if at_top:
                os.rmdir(name, dir_fd=top)
    with contextlib.suppress(OSError):
        os.rmdir(path)


def _entries(folder: int) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)


def _open_anyway(name: str, within: int) -> int:
    """Open a folder, and take back whatever its mode forbids to its owner."""
    handle = os.open(name, os.O_PATH | _FOLDER, dir_fd=within)
    try:
        os.chmod(f"/proc/self/fd/{handle}", 0o700)
        return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(handle)
