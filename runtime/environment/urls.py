"""Locations of packages as text: made absolute, and shown or hashed without their passwords.

Index URLs and wheel URLs may carry credentials. They reach the resolver through its process environment and nothing
else: whatever is printed, logged, hashed or stored passes ``redact`` first.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:")
_CREDENTIALS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/\s]+@")


def redact(text: str) -> str:
    """Return ``text`` with the credentials of every URL in it removed."""
    return _CREDENTIALS.sub(r"\1", text)


def expand(path: str) -> Path:
    """Return a path as an absolute one, ``~`` expanded where there is a home and links not followed."""
    return Path(os.path.abspath(os.path.expanduser(path)))


def absolute(location: str, folder: Path | None = None) -> str:
    """Return a URL as it is, and a local path as an absolute ``file://`` URL (the resolver runs in another folder).

    ``folder`` is where a relative path begins; the working directory by default.
    """
    if _SCHEME.match(location):
        return location
    return expand(os.path.join(folder or "", os.path.expanduser(location))).as_uri()


def local_path(location: str) -> Path | None:
    """Return the local path behind a ``file://`` URL or a plain path, and None for a remote URL."""
    if not _SCHEME.match(location):
        return expand(location)
    parts = urlsplit(location)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        return None
    return Path(unquote(parts.path))
