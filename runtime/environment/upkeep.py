"""Looking after a store: what is in it, what can go, and whether what is there is still as it was built.

An environment that a process holds (see ``hold``) is never removed, and neither is one that is being built. Removing
is a rename out of the way first, so nobody ever meets half of one.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from isopod.ipc.errors import SpecError

from .builder import freeze
from .hold import alone
from .interpreter import probe
from .store import META, Published, Store

_STAGING = ".staging-"
_KEY = re.compile(r"[0-9a-f]{32}")
_CHUNK = 1 << 20
_SHOWN = 20  # problems of one environment


@dataclass(frozen=True)
class Removed:
    """``what`` is a key, or the name of a folder that a killed build left; ``size`` in bytes on disk."""

    what: str
    size: int


def find(store: Store, beginning: str) -> Published:
    """Return the one environment whose key begins so. Raises ``SpecError`` where there is none, or more than one."""
    found = [one for one in store.all() if beginning and one.key.startswith(beginning)]
    if len(found) == 1:
        return found[0]
    if found:
        raise SpecError(f"{beginning!r} is the beginning of {len(found)} environments: {', '.join(_keys(found))}")
    known = ", ".join(_keys(store.all())) or "none at all"
    raise SpecError(f"there is no environment {beginning!r} in {store.root}; there are: {known}")


def in_use(one: Published) -> bool:
    """Whether a process holds it."""
    with alone(one.folder) as free:
        return not free


def remove(store: Store, one: Published) -> Removed | None:
    """Remove an environment of this store; None if somebody holds or builds it. Raises ``SpecError`` for another's."""
    if one.folder.parent != store.root:
        raise SpecError(f"environment {one.key} lies in {one.folder.parent}, which is only looked in; remove it there")
    return _remove(store, one.folder, one.key)


def collect(store: Store, *, unused_for: float, dry_run: bool = False) -> Iterator[Removed]:
    """Remove what killed builds left, and environments of this store that nobody has used for so many seconds.

    Those that are not whole, or of an older isopod, are among them. With ``dry_run`` it only tells what would go.
    """
    for folder in sorted(store.root.glob(f"{_STAGING}*")):
        key = folder.name[len(_STAGING) :].split("-")[0]
        with _unbuilt(store, key) as free:
            if free:
                size = disk_usage(folder)
                if not dry_run:
                    shutil.rmtree(folder, ignore_errors=True)
                yield Removed(folder.name, size)
    for folder in sorted(store.root.glob("*")):
        if not _KEY.fullmatch(folder.name) or time.time() - _last_used(folder) < unused_for:
            continue
        if dry_run:
            with alone(folder) as free:
                gone = Removed(folder.name, disk_usage(folder)) if free else None
        else:
            gone = _remove(store, folder, folder.name)
        if gone is not None:
            yield gone


def verify(one: Published, *, contents: bool = False) -> list[str]:
    """What is wrong with an environment, at most 20 lines; empty if it is as it was built.

    Its interpreter is run, and the packages are listed anew. With ``contents`` each file is read and held against the
    checksum that its package came with.
    """
    wrong = []
    try:
        base = probe(str(one.meta["python"]))
        if list(base.version) != one.meta["version"]:
            wrong.append(f"it was built for Python {_dotted(one.meta['version'])}, and {base} is another one now")
        probe(one.prefix / "bin" / "python")
    except SpecError as error:
        wrong.append(str(error))
    site = next(iter(one.prefix.glob("lib/python*/site-packages")), one.prefix)
    there, built = set(freeze(site)), set(one.meta["freeze"])
    wrong += [f"{item} was installed, and is gone" for item in sorted(built - there)]
    wrong += [f"{item} is there, and was not installed by isopod" for item in sorted(there - built)]
    if contents:
        wrong += _changed_files(site)
    return wrong[:_SHOWN]


def disk_usage(folder: Path) -> int:
    """What a folder takes on disk, in bytes; a file with several names in it (hard links) counts once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    folders = [folder]
    while folders:
        for entry in _entries(folders.pop()):
            with contextlib.suppress(OSError):  # removed while we look
                status = entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                elif (status.st_dev, status.st_ino) not in seen:
                    seen.add((status.st_dev, status.st_ino))
                    total += status.st_blocks * 512
    return total


def _last_used(folder: Path) -> float:
    try:
        return (folder / META).stat().st_mtime
    except OSError:
        return folder.stat().st_mtime


def _remove(store: Store, folder: Path, key: str) -> Removed | None:
    with _unbuilt(store, key) as unbuilt, alone(folder) as free:
        if not unbuilt or not free:
            return None
        size = disk_usage(folder)
        aside = folder.with_name(f"{_STAGING}{key}-removed")
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(folder, aside)
        shutil.rmtree(aside, ignore_errors=True)
    return Removed(key, size)


@contextlib.contextmanager
def _unbuilt(store: Store, key: str) -> Iterator[bool]:
    """Whether nobody builds a key; nobody begins to while the block runs. Raises ``SpecError`` in a read-only store."""
    try:
        descriptor = os.open(store.root / f"{key}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SpecError(f"nothing can be removed from {store.root}: {error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        free = True
    except BlockingIOError:
        free = False
    try:
        yield free
    finally:
        os.close(descriptor)


def _changed_files(site: Path) -> list[str]:
    """Files that are not what their package's RECORD says.

    https://packaging.python.org/en/latest/specifications/recording-installed-packages/
    """
    wrong = []
    for package in metadata.distributions(path=[str(site)]):
        for row in csv.reader((package.read_text("RECORD") or "").splitlines()):
            if not row:
                continue
            name, algorithm_and_digest = row[0], row[1] if len(row) > 1 else ""
            algorithm, _, digest = algorithm_and_digest.partition("=")
            file = site / name
            if not file.is_file():
                wrong.append(f"{package.metadata['Name']}: {name} is gone")
            elif algorithm == "sha256" and _sha256(file) != digest:
                wrong.append(f"{package.metadata['Name']}: {name} is not what was installed")
    return wrong


def _sha256(file: Path) -> str:
    """As RECORD files have it: base64 without padding."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return base64.urlsafe_b64encode(digest.digest()).decode().rstrip("=")


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:  # not there yet, or not ours to read: it holds nothing of ours
        return []


def _keys(found: list[Published]) -> list[str]:
    return [one.key[:12] for one in found]


def _dotted(version: list[int]) -> str:
    return ".".join(map(str, version))
