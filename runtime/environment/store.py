"""The cache of built environments on disk: one folder a key, published whole or not at all.

::

    <home>/environments/<key>/             a published environment: venv/, meta.json, warm.json, build.log
    <home>/environments/<key>.lock         held (flock) by the one who builds it; never deleted
    <home>/environments/.staging-<key>-…   a build in progress, or what a killed one left

A folder under ``<key>`` appears by one rename, after everything in it is complete. So whoever sees it may use it
without a lock (those that go on using it take a ``Hold``), and a build that dies at any moment leaves only a staging
folder, which is never served and which the next builder of that key removes. A published environment is never written
to again by us: the files in it are hard links into uv's cache. Only the time of its ``meta.json`` is set, to when it
was last used; and Python adds bytecode to it, as workers run and where ``warm`` asks for it later (``warm.json``).

Other stores (``$ISOPOD_STORES``, folders like ``environments`` above) are looked in, and never written to: those that a
container's image or a team's file system brings.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isopod.ipc.errors import EnvironmentBuildError

from .urls import expand

META = "meta.json"
LOG = "build.log"
VENV = "venv"
_FACTS = frozenset(
    ("python", "version", "requirements", "lock", "sources", "freeze", "built", "seconds")
)  # what each meta.json says


def home() -> Path:
    """Return the folder of all that isopod keeps: ``$ISOPOD_HOME``, else ``isopod`` in the user's cache folder.

    Raises ``EnvironmentBuildError`` where neither is known.
    """
    chosen = os.environ.get("ISOPOD_HOME")
    if chosen:
        return expand(chosen)
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = expand(cache)
    if "~" in folder.parts:  # a user without an entry in the password file, as in many containers
        raise EnvironmentBuildError("there is no home folder to keep environments in: set ISOPOD_HOME")
    return folder / "isopod"


@dataclass(frozen=True)
class Published:
    """An environment that is there, and what its ``meta.json`` says."""

    key: str
    folder: Path
    meta: Mapping[str, Any]

    @property
    def prefix(self) -> Path:
        return self.folder / VENV

    @property
    def last_used(self) -> float:
        """Seconds since the epoch."""
        return (self.folder / META).stat().st_mtime

    def note_use(self) -> None:
        with contextlib.suppress(OSError):  # a store that cannot be written to
            os.utime(self.folder / META)


class Store:
    """The environments below one folder. Holds no state: any number of threads and processes may use it at once.

    ``others`` are the folders of stores that are only looked in; by default, with a default ``root``, those of
    ``$ISOPOD_STORES``.
    """

    def __init__(self, root: Path | None = None, others: tuple[Path, ...] | None = None) -> None:
        self.root = root if root is not None else home() / "environments"
        self.others = others if others is not None else _others() if root is None else ()

    def folder(self, key: str) -> Path:
        """Return where the environment of a key is, or would be."""
        return self.root / key

    def get(self, key: str) -> Published | None:
        """Return a published environment, ours or another store's, or None if there is none that is whole."""
        for root in (self.root, *self.others):
            found = published(root / key)
            if found is not None:
                return found
        return None

    def all(self) -> list[Published]:
        """Return what is published here and in the other stores, in the order of their keys."""
        found = {}
        for root in reversed((self.root, *self.others)):
            for folder in sorted(root.glob("*")):
                one = None if folder.name.startswith(".") else published(folder)
                if one is not None:
                    found[one.key] = one
        return sorted(found.values(), key=lambda one: one.key)

    @contextlib.contextmanager
    def lock(self, key: str, waiting: Callable[[str], None]) -> Iterator[int]:
        """Hold a key for building, and yield the lock's descriptor. ``waiting`` is told once if another holds it.

        The descriptor may be handed to the processes of the build: then, if the builder is killed, the lock lives for
        as long as they do, and the next builder does not clear a folder into which one of them still writes.
        """
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.root / f"{key}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting(os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown")
                # without a deadline of its own: the holder is a live build, whose steps have theirs, and a signal
                # (Ctrl-C) still gets through
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            try:
                yield descriptor
            finally:
                # explicit: a fork of this process in the meantime holds a copy of the descriptor
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def staging(self, key: str) -> Iterator[Path]:
        """Yield an empty folder beside the final one; it is removed unless ``publish`` took it. Needs the lock."""
        self._clear(key)
        folder = Path(tempfile.mkdtemp(prefix=f".staging-{key}-", dir=self.root))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # after a publish there is nothing of that name

    def publish(self, key: str, staging: Path, meta: Mapping[str, object]) -> None:
        """Write ``meta.json`` and give the folder its final name in one step. Needs the lock."""
        text = json.dumps({"key": key, **meta}, indent=1, sort_keys=True)
        (staging / META).write_text(text + "\n", encoding="utf-8")
        os.rename(staging, self.folder(key))

    def _clear(self, key: str) -> None:
        """Remove what killed builds of this key left, and an environment under its name that is not whole."""
        for left in self.root.glob(f".staging-{key}-*"):
            shutil.rmtree(left, ignore_errors=True)
        damaged = self.folder(key)
        if damaged.exists():
            # out of the way by a rename first, so that no half-removed folder ever stands under the key
            aside = Path(tempfile.mkdtemp(prefix=f".staging-{key}-", dir=self.root))
            os.rename(damaged, aside / "damaged")
            shutil.rmtree(aside, ignore_errors=True)


def published(folder: Path) -> Published | None:
    """Return the environment in ``folder``, or None if there is none that is whole."""
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    # somebody may have emptied the cache by hand, or removed the interpreter: the link tells both
    if not isinstance(meta, dict) or meta.get("key") != folder.name or not meta.keys() >= _FACTS:
        return None
    return Published(folder.name, folder, meta) if os.access(folder / VENV / "bin" / "python", os.X_OK) else None


def _others() -> tuple[Path, ...]:
    return tuple(expand(item) for item in os.environ.get("ISOPOD_STORES", "").split(os.pathsep) if item)
