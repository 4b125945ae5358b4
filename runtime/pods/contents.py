"""The files of a pod, wherever they lie: in a folder or in a zip, looked at by the same few questions.

Nothing here trusts a pod: names are checked before they are used, links are refused, and how much is read is bounded.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from isopod.ipc.errors import SpecError

_CHUNK = 1 << 20
_TEXT_LIMIT = 16 << 20  # bytes of a JSON or TOML file; a manifest of a hundred thousand files has fewer
_CACHES = "__pycache__"


class Contents(Protocol):
    """``place`` is where the pod lies, ``sizes`` the bytes of each file by its path in the pod, with ``/``."""

    @property
    def place(self) -> Path: ...
    @property
    def sizes(self) -> Mapping[str, int]: ...

    def open(self, name: str) -> IO[bytes]:
        """Raises ``SpecError`` where it cannot be read."""

    def close(self) -> None: ...


def read_text(contents: Contents, name: str) -> str:
    """A small file of the pod as text. Raises ``SpecError`` that names the pod and the file."""
    if name not in contents.sizes:
        raise SpecError(f"{contents.place} has no {name}")
    if contents.sizes[name] > _TEXT_LIMIT:
        raise SpecError(f"{contents.place}: {name} has {contents.sizes[name]} bytes, which is not what it is for")
    try:
        return b"".join(chunks(contents, name)).decode("utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(f"{contents.place}: {name} is not UTF-8: {error}") from None


def chunks(contents: Contents, name: str) -> Iterator[bytes]:
    """The bytes of one file, piece by piece. Raises ``SpecError`` for one that is damaged."""
    with contents.open(name) as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk


class Folder:
    """A pod that is a folder. It is read where it lies, and never written to.

    The bytecode that Python leaves beside code (``__pycache__``) is no part of it.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.sizes: Mapping[str, int] = dict(sorted(self._walk()))
        check_names(place, self.sizes)

    def open(self, name: str) -> IO[bytes]:
        try:
            # no link is followed, should one have taken the file's place since
            return os.fdopen(os.open(self.place / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
        except OSError as error:
            raise SpecError(f"{self.place}: {name} cannot be read: {error.strerror}") from error

    def close(self) -> None:
        """Nothing is open."""

    def _walk(self) -> Iterator[tuple[str, int]]:
        folders = [""]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(self.place / folder) as found:
                    entries = list(found)
            except OSError as error:
                raise SpecError(f"{self.place / folder} cannot be read: {error.strerror}") from error
            for entry in entries:
                name = f"{folder}/{entry.name}" if folder else entry.name
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    folders += [] if entry.name == _CACHES else [name]
                elif stat.S_ISREG(status.st_mode):
                    yield name, status.st_size
                else:
                    raise SpecError(f"{self.place}: {name} is a link or no file; a pod holds files and folders only")


def check_names(place: Path, names: Iterable[str]) -> None:
    """Refuse names that lead out of the pod, or that are the same file on some machine. Raises ``SpecError``."""
    seen: dict[str, str] = {}
    folders: dict[str, str] = {}
    for name in names:
        if problem := _fault(name):
            raise SpecError(f"{place}: the name {name!r} {problem}; it was not opened")
        same = _folded(name)
        if same in seen:
            raise SpecError(f"{place}: {seen[same]!r} and {name!r} are one file on some machines; it was not opened")
        seen[same] = name
        for parent in PurePosixPath(name).parents:
            folders.setdefault(_folded(str(parent)), str(parent))
            if folders[_folded(str(parent))] != str(parent):
                other = folders[_folded(str(parent))]
                raise SpecError(f"{place}: {other!r} and {str(parent)!r} are one folder on some machines")
    for same, folder in folders.items():
        if same in seen:
            raise SpecError(f"{place}: {folder!r} is a file and a folder; it was not opened")


def _fault(name: str) -> str:
    if name.startswith("/") or (len(name) > 1 and name[1] == ":"):
        return "is absolute"
    parts = name.split("/")
    if ".." in parts:
        return "leads out of the pod"
    if "\\" in name or any(ord(sign) < 32 for sign in name):
        return "holds a sign that means something else elsewhere"
    if not all(part not in ("", ".") for part in parts):
        return "has an empty part"
    if any(len(part.encode("utf-8", "surrogatepass")) > 255 for part in parts) or len(name) > 4000:
        return "is too long"
    return ""


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
