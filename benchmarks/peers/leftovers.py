"""What a peer leaves behind: processes, files in shared memory, temporary files; found, counted, and then cleared away.

The household's head is the reaper of orphans (``PR_SET_CHILD_SUBREAPER``), so that nothing that a peer starts gets out
of its sight. /dev/shm is everybody's: only names that the peer's processes had open or mapped count as theirs.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.peers.contract import OWN

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_SHM = "/dev/shm/"
_GRACE = 1.0  # seconds for what is just going away


class Household:
    """Whatever this process starts while it is open, and what those start in turn. All of it ends with it."""

    def __enter__(self) -> Household:
        self._spared = {child.pid for child in psutil.Process().children()}
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)

    def members(self) -> list[psutil.Process]:
        """Everybody alive."""
        found = []
        for child in psutil.Process().children():
            if child.pid not in self._spared:
                found += [child, *_below(child)]
        return [one for one in found if alive(one)]

    def clear(self) -> None:
        """Kill everybody, and those who come to us because their parents died, too."""
        while members := self.members():
            for process in members:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(members, timeout=_GRACE)
        self._bury()

    def _bury(self) -> None:
        for child in psutil.Process().children():
            if child.pid not in self._spared:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(child.pid, os.WNOHANG)


def _below(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@dataclass
class Traces:
    """Where a peer may leave something, and what is seen there while it works."""

    temporary: Path
    folders: tuple[str, ...] = ()
    _shared: set[str] = field(default_factory=set)
    _before: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._before = self._files()

    def look(self, processes: Iterable[psutil.Process]) -> None:
        """Note the names in shared memory that these have open or mapped."""
        for process in processes:
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{process.pid}/maps").read_text().splitlines():
                    self._note(line.partition("/")[1] + line.partition("/")[2])
            with contextlib.suppress(OSError):
                for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
                    self._note(os.readlink(descriptor))

    def _note(self, path: str) -> None:
        if path.startswith(_SHM):
            self._shared.add(path)

    def left(self, processes: list[psutil.Process]) -> list[str]:
        """What is still there after a moment, in words."""
        until = time.monotonic() + _GRACE
        while time.monotonic() < until and any(map(alive, processes)):
            time.sleep(0.02)  # the kernel is taking them down
        shared = [name for name in self._shared if os.path.exists(name)]
        files = self._files() - self._before
        counts = [
            (sum(map(alive, processes)), "process", "processes"),
            (len(shared), "file in /dev/shm", "files in /dev/shm"),
            (len(files), "other file", "other files"),
        ]
        return [f"{count} {one if count == 1 else many}" for count, one, many in counts if count]

    def clear(self) -> None:
        """Take away what is ours alone to take away."""
        for name in [*self._shared, *(self._files() - self._before)]:
            with contextlib.suppress(OSError):
                os.unlink(name)
        shutil.rmtree(self.temporary, ignore_errors=True)

    def _files(self) -> set[str]:
        """Files and sockets; an empty folder does nobody any harm."""
        found = set()
        for top in (str(self.temporary), *self.folders):
            for folder, below, names in os.walk(top):
                below[:] = [name for name in below if not name.startswith(OWN)]
                found |= {os.path.join(folder, name) for name in names}
        return found
