"""``Env``'s fields as values of a TOML file: what form each has, and where in the file it is wrong.

The rules are here once. ``script`` reads the names that other tools have given them with it (PEP 723), ``table`` those
of our own. A relative path is one from the file's folder, wherever the application runs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any

from isopod.ipc.errors import SpecError

from . import devices
from . import requirements as rules
from .dates import instant
from .threads import Threads
from .urls import absolute, expand
from .versions import PythonRequest

_HEADER = re.compile(r"\s*\[\[?[^\[\],]+\]\]?\s*(#.*)?")


@dataclass(frozen=True)
class Text:
    """A stretch of TOML in a file, and where in it the words stand that an error is about."""

    file: Path
    start: int  # the line before its first one
    text: str
    header: str = ""  # of the table that is read; "" for one without

    def line_of(self, word: object) -> int:
        """Where a word first stands in the table, as a key if it is one; the table's own line if it is not there."""
        lines = self.text.splitlines()
        first, end = self._extent(lines)
        key = re.compile(rf"\s*[\"']?{re.escape(str(word))}[\"']?\s*[=.]")
        matches: tuple[Callable[[str], object], ...] = (key.match, lambda line: str(word) in line)
        for found in matches:
            for at in range(first + 1, end):
                if found(lines[at]):
                    return self.start + at + 1
        return max(self.start + first + 1, 1)

    def _extent(self, lines: Sequence[str]) -> tuple[int, int]:
        """(the line of the table's header, where the next table begins); the whole where the header is not there."""
        own = re.compile(rf"\s*\[+\s*{re.escape(self.header)}\s*\]")
        first = next((at for at, line in enumerate(lines) if self.header and own.match(line)), None)
        if first is None:
            return -1, len(lines)
        below = re.compile(rf"\s*\[+\s*{re.escape(self.header)}\s*\.")
        after = range(first + 1, len(lines))
        return first, next(
            (at for at in after if _HEADER.fullmatch(lines[at]) and not below.match(lines[at])), len(lines)
        )

    def error(self, word: object, what: object) -> SpecError:
        return SpecError(f"{self.file}:{self.line_of(word)}: {what}")


class Fields:
    """Takes one value after the other; ``found`` are the options of an ``Env`` by then."""

    def __init__(self, text: Text) -> None:
        self.text = text
        self.found: dict[str, Any] = {}
        self._folder = text.file.parent

    def take(self, field: str, name: str, value: object) -> None:
        """Take the value of a field, which the file calls ``name``; lists are added up.

        Raises ``SpecError`` that names file and line for one of another form.
        """
        kind = KINDS[field]
        if kind in _LISTS:
            self.found[field] = [*self.found.get(field, []), *self._each(name, value, _LISTS[kind])]
        else:
            self.found[field] = self._checked(name, lambda: _ONE[kind](name, value, self._folder))

    def _each(self, name: str, values: object, convert: Callable[[str, Path], str]) -> list[str]:
        if not isinstance(values, list):
            raise self.text.error(name, f"{name} is not a list of strings")
        return [self._checked(name, partial(_element, name, value, self._folder, convert), value) for value in values]

    def _checked(self, name: str, convert: Callable[[], Any], word: object = None) -> Any:
        """An error is about a name, or about a word of its list."""
        try:
            return convert()
        except SpecError as error:
            raise self.text.error(word if isinstance(word, str) else name, error) from error


def _string(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise SpecError(f"{name}: {value!r} is not a string")
    return value


def _element(name: str, value: object, folder: Path, convert: Callable[[str, Path], str]) -> str:
    return convert(_string(name, value), folder)


def _flag(name: str, value: object, _: Path) -> bool:
    if not isinstance(value, bool):
        raise SpecError(f"{name}: {value!r} is neither true nor false")
    return value


def _python(name: str, value: object, folder: Path) -> str:
    text = _string(name, value)
    if os.sep in text and not os.path.isabs(os.path.expanduser(text.strip())):
        text = str(expand(os.path.join(folder, text.strip())))
    PythonRequest.parse(text)
    return text


def _moment(name: str, value: object, _: Path) -> str:
    """TOML has dates of its own, which need no quotes."""
    text = value.isoformat() if isinstance(value, (date, datetime)) else _string(name, value)
    instant(text)
    return text


def _variables(name: str, value: object, _: Path) -> dict[str, str]:
    if not isinstance(value, dict):
        raise SpecError(f"{name} is not a table of strings")
    return {key: _string(f"{name}: {key}", text) for key, text in value.items()}


def _threads(name: str, value: object, _: Path) -> Threads:
    if not isinstance(value, dict):
        return Threads(value)  # type: ignore[arg-type]  # it says what is no number
    if "within" not in value or not value.keys() <= {"within", "between"}:
        raise SpecError(f"{name}: give a number, or {{within = 4, between = 1}}")
    return Threads(**value)


def _devices(name: str, value: object, _: Path) -> tuple[str, ...] | None:
    if not isinstance(value, (str, list)):
        raise SpecError(f"{name}: {value!r} is neither a string nor a list of strings")
    return devices.parse(value)


def _path(name: str, value: object, folder: Path) -> str:
    return str(expand(os.path.join(folder, os.path.expanduser(_string(name, value)))))


def _location(text: str, folder: Path) -> str:
    return absolute(text, folder)


def _plain(text: str, _: Path) -> str:
    return text


_LISTS: Mapping[str, Callable[[str, Path], str]] = {
    "requirements": rules.normalise,
    "locations": _location,
    "packages": lambda text, _: rules.package_name(text),
    "strings": _plain,
}
_ONE: Mapping[str, Callable[[str, object, Path], Any]] = {
    "flag": _flag,
    "location": lambda name, value, folder: absolute(_string(name, value), folder),
    "path": _path,
    "python": _python,
    "moment": _moment,
    "variables": _variables,
    "threads": _threads,
    "devices": _devices,
    "word": lambda name, value, _: _string(name, value),
}
# What is no part of an environment on disk.
RUN_TIME = ("variables", "unset", "threads", "devices", "warm")
# Each field of Env. ``location`` is what a file calls "existing".
KINDS: Mapping[str, str] = {
    "requirements": "requirements",
    "python": "python",
    "constraints": "requirements",
    "overrides": "requirements",
    "exclude_newer": "moment",
    "lock": "path",
    "index_url": "location",
    "extra_index_urls": "locations",
    "find_links": "locations",
    "no_index": "flag",
    "from_source": "packages",
    "allow_source": "flag",
    "installer": "word",
    "download_python": "flag",
    "variables": "variables",
    "unset": "strings",
    "threads": "threads",
    "devices": "devices",
    "warm": "strings",
    "location": "path",
}
