"""TOML as the standard library reads it, also on Python 3.10, which has no reader of its own: tomli is that reader."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from isopod.ipc.errors import SpecError

_PLACE = re.compile(r"\s*\(at line (\d+), column \d+\)")


def parse(text: str, file: Path, line: int = 1) -> dict[str, Any]:
    """Parse TOML text that begins at ``line`` of ``file``. Raises ``SpecError`` that names both."""
    # here, for most applications never read any
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        found: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = _PLACE.search(str(error))  # "at end of document" has no number
        where = line + (int(place[1]) - 1 if place else text.count("\n"))
        raise SpecError(f"{file}:{where}: this is not TOML: {_PLACE.sub('', str(error))}") from error
    return found


def read(file: Path) -> dict[str, Any]:
    """Read a whole TOML file. Raises ``SpecError`` that names it."""
    return parse(text_of(file), file)


def text_of(file: Path) -> str:
    """The text of a file. Raises ``SpecError`` that names it."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{file} cannot be read: {error}") from error
