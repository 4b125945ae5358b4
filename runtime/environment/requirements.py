"""The rules for requirements: read, normalised, completed with our own numpy, and identified by their contents.

A requirement is PEP 508 text, or the path of a wheel on this machine. Nothing here knows a framework by name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidName, InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from isopod.ipc.errors import SpecError

from .urls import absolute, local_path, redact

# The worker describes every tensor with numpy, so each environment must have it, in whichever version fits the rest.
OURS = "numpy"

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_PATHS = (".", "/", "~")  # no name of a package begins so
_ARCHIVES = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")


@dataclass(frozen=True)
class Complete:
    """What the resolver is given: the user's requirements, ours after them, and whether ours was added."""

    requirements: tuple[str, ...]
    added: bool


def normalise(text: str, folder: Path | None = None) -> str:
    """Return a requirement in its one normal form; the path or URL of a wheel becomes ``name @ file:///…``.

    ``folder`` is where a relative path begins; the working directory by default. Raises ``SpecError`` naming the
    requirement if it cannot be read, or if its local wheel does not exist.
    """
    stripped = text.strip()
    if stripped.endswith(".whl") and " @ " not in stripped and (_URL.match(stripped) or "@" not in stripped):
        location = absolute(stripped, folder)
        wheel = local_path(location)
        return _local_wheel(wheel) if wheel is not None else f"{_name_of_wheel(location)} @ {location}"
    if stripped.startswith(_PATHS) or (stripped.lower().endswith(_ARCHIVES) and " @ " not in stripped):
        raise SpecError(
            f"requirement {redact(text)!r}: of paths, only that of a wheel can be given: "
            "build one of it (uv build --wheel, or pip wheel), and name that"
        )
    try:
        requirement = Requirement(stripped)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        raise SpecError(f"requirement {redact(text)!r} cannot be read: {redact(reason)}") from error
    requirement.name = canonicalize_name(requirement.name)
    if requirement.url:
        requirement.url = absolute(requirement.url, folder)
        wheel = local_path(requirement.url)
        if wheel is not None and not wheel.exists():
            raise SpecError(f"requirement {text!r}: there is no file {wheel}")
    return str(requirement)


def package_name(text: str) -> str:
    """Return the normal form of a package's name. Raises ``SpecError`` naming it if it is none."""
    try:
        return canonicalize_name(text.strip(), validate=True)
    except InvalidName as error:
        raise SpecError(f"{text!r} is not the name of a package") from error


def complete(requirements: Sequence[str]) -> Complete:
    """Sort the (normalised) requirements and put numpy last, unless they name it.

    Sorted, so that one cache key means one input to the resolver. Ours comes last, so that the resolver decides on the
    user's packages first and then takes the numpy that suits them.
    """
    theirs = tuple(sorted(set(requirements)))
    parsed = (Requirement(text) for text in theirs)
    # one with a marker may not apply here, and then ours is what brings numpy
    if any(item.name == OURS and item.marker is None for item in parsed):
        return Complete(theirs, added=False)
    return Complete((*theirs, OURS), added=True)


def identity(requirement: str) -> str:
    """Return what stands for a requirement in a cache key: its text without credentials, and a local file's sha256."""
    url = Requirement(requirement).url
    file = local_path(url) if url else None
    text = redact(requirement)
    return f"{text} sha256={sha256_of(file)}" if file is not None and file.is_file() else text


def sha256_of(file: Path) -> str:
    """Return the sha256 of a file's contents, remembered for as long as the file stays as it is."""
    status = file.stat()
    return _sha256(str(file), status.st_mtime_ns, status.st_size, status.st_ino)


@lru_cache(maxsize=256)
def _sha256(file: str, _mtime_ns: int, _size: int, _inode: int) -> str:
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _name_of_wheel(location: str) -> str:
    file = location.rpartition("/")[2]
    try:
        return parse_wheel_filename(unquote(file))[0]
    except InvalidWheelFilename as error:
        raise SpecError(f"requirement {redact(location)!r}: {file} is not the name of a wheel") from error


def _local_wheel(path: Path) -> str:
    name = _name_of_wheel(str(path))
    if not path.is_file():
        raise SpecError(f"requirement {str(path)!r}: there is no such wheel")
    return f"{name} @ {path.absolute().as_uri()}"
