"""A pod that is a zip: looked through before anything of it is written, and unpacked as if it were hostile.

Refused are names that lead elsewhere, names that come twice, links, encryption, and archives that grow beyond measure;
what is truncated or damaged is told as that. The limits are those of what a machine bears, not of what a model needs:
who has a larger pod unpacks it, and loads the folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from isopod.ipc.errors import SpecError

from .contents import check_names, chunks

_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
_ENCRYPTED = 0x1 | 0x40
# What reading a zip raises where it is not as it should be.
DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, ValueError, OSError)
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # the first that a zip can say
_MODE = stat.S_IFREG | 0o644
_UNIX = 3
_END, _END_WITHIN = b"PK\x05\x06", 22 + (1 << 16)  # the last record, and where it begins at the earliest


@dataclass(frozen=True)
class Limits:
    """What an archive may become: ``files``, ``size`` in bytes, and ``ratio`` to its own size beyond ``free`` bytes."""

    files: int = 100_000
    size: int = 256 << 30
    ratio: int = 200
    free: int = 1 << 30


class Archive:
    """The files in a zip. Whoever opens it closes it. Raises ``SpecError`` for one that is not safe, or not whole."""

    def __init__(self, place: Path, limits: Limits | None = None) -> None:
        self.place = place
        with _told(place):
            self._zip = zipfile.ZipFile(place)
        try:
            self._entries = self._checked(limits or Limits())
        except BaseException:  # goes on to the caller
            self._zip.close()
            raise
        self.sizes: Mapping[str, int] = {name: entry.file_size for name, entry in sorted(self._entries.items())}

    def open(self, name: str) -> IO[bytes]:
        with _told(self.place, name):
            return _Guarded(self._zip.open(self._entries[name]), self.place, name)  # type: ignore[return-value]

    def close(self) -> None:
        self._zip.close()

    def _checked(self, limits: Limits) -> dict[str, zipfile.ZipInfo]:
        infos = self._zip.infolist()
        self._check_directory(len(infos))
        if len(infos) > limits.files:
            raise SpecError(f"{self.place} holds {len(infos)} files, and more than {limits.files} are not unpacked")
        entries: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            name = info.orig_filename.rstrip("/") if info.is_dir() else info.orig_filename
            self._check_kind(name, info)
            if info.is_dir():
                check_names(self.place, [name])
                continue
            if name in entries:
                raise SpecError(f"{self.place}: {name!r} is in it twice; it was not opened")
            entries[name] = info
        check_names(self.place, entries)
        self._check_growth(entries, limits)
        return entries

    def _check_directory(self, count: int) -> None:
        """Whether the list of files is all of it: zipfile goes by its length alone, and one wrong byte hides the rest.

        https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, 4.3.16
        """
        with self.place.open("rb") as stream:
            stream.seek(max(0, self.place.stat().st_size - _END_WITHIN))
            tail = stream.read()
        at = tail.rfind(_END)
        if at < 0 or len(tail) - at < 22:
            raise SpecError(f"{self.place} is damaged, or the archive is not whole: its end is not there")
        told, offset = struct.unpack_from("<H", tail, at + 10)[0], struct.unpack_from("<I", tail, at + 16)[0]
        if told not in (count, 0xFFFF) or offset not in (self._zip.start_dir, 0xFFFFFFFF):  # those are of zip64
            raise SpecError(f"{self.place} is damaged, or the archive is not whole: it lists {count} of {told} files")

    def _check_kind(self, name: str, info: zipfile.ZipInfo) -> None:
        mode = info.external_attr >> 16
        if info.create_system == _UNIX and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise SpecError(f"{self.place}: {name!r} is a link or no file; a pod holds files and folders only")
        if info.flag_bits & _ENCRYPTED:
            raise SpecError(f"{self.place}: {name!r} is encrypted; unpack it yourself, and load the folder")
        if info.compress_type not in _METHODS:
            raise SpecError(
                f"{self.place}: {name!r} is compressed by a method ({info.compress_type}) that few can read"
            )

    def _check_growth(self, entries: Mapping[str, zipfile.ZipInfo], limits: Limits) -> None:
        whole = self.place.stat().st_size
        size = sum(info.file_size for info in entries.values())
        if sum(info.compress_size for info in entries.values()) > whole:
            raise SpecError(f"{self.place}: the files in it lie over one another; it was not opened")
        if size > limits.size or size > max(limits.free, limits.ratio * whole):
            raise SpecError(
                f"{self.place} has {whole} bytes and would become {size}, as archives do that are made to fill a disk; "
                "if that is meant, unpack it yourself, and load the folder"
            )


class _Guarded:
    """A file in a zip; what is wrong with it is told as the pod's."""

    def __init__(self, stream: IO[bytes], place: Path, name: str) -> None:
        self._stream, self._place, self._name = stream, place, name

    def read(self, size: int = -1) -> bytes:
        with _told(self._place, self._name):
            return self._stream.read(size)

    def __enter__(self) -> _Guarded:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


@contextlib.contextmanager
def _told(place: Path, name: str = "") -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise SpecError(f"there is no file {place}") from error
    except DAMAGE as error:
        where = f"{place}: {name}" if name else str(place)
        raise SpecError(f"{where} is damaged, or the archive is not whole: {error}") from error


def unpack(archive: Archive, folder: Path) -> dict[str, str]:
    """Write every file below ``folder``, which is empty; returns their sha256. Raises ``SpecError`` and ``OSError``."""
    digests = {}
    for name in archive.sizes:
        target = folder / name
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        digest = hashlib.sha256()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(target, flags, 0o644), "wb") as stream:
            for chunk in chunks(archive, name):
                digest.update(chunk)
                stream.write(chunk)
        digests[name] = digest.hexdigest()
    return digests


def write(folder: Path, place: Path, compression: int = zipfile.ZIP_DEFLATED) -> None:
    """Put the files of a folder into a zip: the same contents give the same bytes. ``place`` must not exist.

    Sorted by name, with one time and one mode for all. Raises ``FileExistsError``.
    """
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    with open(place, "xb") as out, zipfile.ZipFile(out, "w", compression) as archive:
        for name in names:
            info = zipfile.ZipInfo(name, _FIXED_TIME)
            info.create_system = _UNIX
            info.external_attr = _MODE << 16
            info.compress_type = compression
            info.file_size = (folder / name).stat().st_size  # so that zip64 is used where it must be, and nowhere else
            _level(info)
            with (folder / name).open("rb") as source, archive.open(info, "w") as sink:
                while chunk := source.read(1 << 20):
                    sink.write(chunk)


def _level(info: Any) -> None:
    """A fixed level: that of the library's default may change. The attribute was private before Python 3.13."""
    if info.compress_type == zipfile.ZIP_DEFLATED:
        setattr(info, "compress_level" if hasattr(info, "compress_level") else "_compresslevel", 6)
