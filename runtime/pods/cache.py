"""Where zips are unpacked: one folder a content, published whole or not at all, as environments are. ::

    <home>/pods/<key>/pod/         the files of the pod
    <home>/pods/<key>/meta.json    that they are all there, and their digest; its time is that of the last use
    <home>/pods/seen/<file>        which key a zip had when it was last looked at

The key is made of the zip's own bytes. To hash them takes a second for each gigabyte, so it is remembered for as long
as the file keeps its size and its times. A folder that a process uses is held (``Hold``) and not collected.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isopod.ipc.errors import EnvironmentBuildError, SpecError
from isopod.runtime.environment import Hold
from isopod.runtime.environment.hold import hold
from isopod.runtime.environment.store import META, Store, home
from isopod.runtime.environment.upkeep import Removed, collect

from . import config, layout, manifest
from .archive import Archive, unpack

_POD = "pod"
_SEEN = "seen"
_KEY = 32  # hexadecimal digits: 128 bits
_SETTLED = 2_000_000_000  # ns: a file that changed a moment ago may change again within one tick of its clock


@dataclass(frozen=True)
class Unpacked:
    """A pod's files in the cache. ``digest`` is that of its contents; ``verified``: it had a manifest."""

    folder: Path
    digest: str
    verified: bool
    hold: Hold


def shelf() -> Store:
    """The folder that pods are unpacked in, with a store's ways of building and of being looked after."""
    return Store(home() / "pods", ())


def had(place: Path) -> Unpacked:
    """The files of a zip, unpacked if they are not there yet, and held.

    Raises ``SpecError`` for a zip that is damaged, unsafe or no pod; ``EnvironmentBuildError`` where there is no room.
    """
    store = shelf()
    try:
        key = _key_of(place, store.root / _SEEN)
        while True:
            found = _get(store, key)
            if found is not None:
                return found
            _unpack(store, key, place)
    except OSError as error:
        raise EnvironmentBuildError(f"{place} cannot be unpacked in {store.root}: {error}") from error


def collect_unused(*, unused_for: float, dry_run: bool = False) -> Iterator[Removed]:
    """Remove pods that nobody has used for so many seconds, and what killed processes left. They are unpacked anew."""
    store = shelf()
    yield from collect(store, unused_for=unused_for, dry_run=dry_run)
    for note in () if dry_run else (store.root / _SEEN).glob("*"):
        with contextlib.suppress(OSError):
            if time.time() - note.stat().st_mtime >= unused_for:
                note.unlink()


def _get(store: Store, key: str) -> Unpacked | None:
    folder = store.folder(key)
    held = hold(folder)
    if held is None:
        return None
    meta = _read_meta(folder)
    if meta is None or meta.get("key") != key or not (folder / _POD / layout.CONFIG).is_file():
        held.release()
        return None
    with contextlib.suppress(OSError):  # a home that cannot be written to
        os.utime(folder / META)
    return Unpacked(folder / _POD, str(meta["digest"]), bool(meta["verified"]), held)


def _read_meta(folder: Path) -> dict[str, Any] | None:
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return meta if isinstance(meta, dict) and meta.keys() >= {"key", "digest", "verified"} else None


def _unpack(store: Store, key: str, place: Path) -> None:
    """Under the key's lock, beside its final name, and renamed when all of it is there and as the manifest says."""
    with store.lock(key, lambda _: None), contextlib.closing(Archive(place)) as archive:
        if _get(store, key) is not None:
            return  # another process has done it
        config.read(archive)  # what is no pod is not unpacked
        listed = manifest.read(archive)
        with store.staging(key) as staging:
            digests = unpack(archive, staging / _POD)
            manifest.check(place, listed, digests)
            if _hash(place)[:_KEY] != key:
                raise SpecError(f"{place} changed while it was unpacked; nothing was kept, try again")
            meta = {"digest": manifest.digest_of(digests), "verified": listed is not None, "from": str(place)}
            store.publish(key, staging, meta)


def _key_of(place: Path, seen: Path) -> str:
    try:
        status = place.stat()
    except OSError as error:
        raise SpecError(f"{place} cannot be read: {error.strerror}") from error
    facts = (
        os.path.realpath(place),
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
    note = seen / hashlib.sha256(repr(facts).encode("utf-8", "surrogateescape")).hexdigest()
    with contextlib.suppress(OSError, ValueError):
        key = note.read_text(encoding="ascii")
        if len(key) == _KEY:
            os.utime(note)
            return key
    key = _hash(place)[:_KEY]
    if time.time_ns() - status.st_ctime_ns > _SETTLED:
        _remember(note, key)
    return key


def _remember(note: Path, key: str) -> None:
    """Whole or not at all. Where it cannot be kept, the file is hashed each time."""
    beside = note.with_name(f".{note.name}-{os.getpid()}-{time.monotonic_ns()}")
    with contextlib.suppress(OSError):
        note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside.write_text(key, encoding="ascii")
        os.rename(beside, note)


def _hash(place: Path) -> str:
    digest = hashlib.sha256()
    try:
        with place.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise SpecError(f"{place} cannot be read: {error.strerror}") from error
    return digest.hexdigest()
