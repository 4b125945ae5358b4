"""The rules for requirements: read, normalised, completed with our own numpy, and identified by their contents.

A requirement is PEP 508 text, or the path of a wheel on this machine. Nothing here knows a framework by name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidName, InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from isopod.ipc.errors import SpecError

from .urls import absolute, expand, local_path, redact

# The worker describes every tensor with numpy, so each environment must have it, in whichever version fits the rest.
OURS = "numpy"


@dataclass(frozen=True)
class Complete:
    """What the resolver is given: the user's requirements, ours after them, and whether ours was added."""

    requirements: tuple[str, ...]
    added: bool


def normalise(text: str) -> str:
    """Return a requirement in its one normal form; the path of a local wheel becomes ``name @ file:///…``.

    Raises ``SpecError`` naming the requirement if it cannot be read, or if its local wheel does not exist.
    """
    stripped = text.strip()
    if stripped.endswith(".whl") and "@" not in stripped and "://" not in stripped:
        return _local_wheel(expand(stripped))
    try:
        requirement = Requirement(stripped)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        raise SpecError(f"requirement {redact(text)!r} cannot be read: {redact(reason)}") from error
    requirement.name = canonicalize_name(requirement.name)
    if requirement.url:
        requirement.url = absolute(requirement.url)
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


def _local_wheel(path: Path) -> str:
    try:
        name = parse_wheel_filename(path.name)[0]
    except InvalidWheelFilename as error:
        raise SpecError(f"requirement {str(path)!r}: {path.name} is not the name of a wheel") from error
    if not path.is_file():
        raise SpecError(f"requirement {str(path)!r}: there is no such wheel")
    return f"{name} @ {path.absolute().as_uri()}"
