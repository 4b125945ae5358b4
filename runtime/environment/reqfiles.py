"""Requirement files, read as pip reads them: https://pip.pypa.io/en/stable/reference/requirements-file-format/

Comments, continued lines, ``${VARIABLES}``, files that include others, and the options that say where packages come
from. What an environment that is kept cannot hold (an editable folder) is refused, by file and line. Local paths are
those of the file's own folder, wherever the application runs.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isopod.ipc.errors import SpecError

from . import requirements as rules
from .urls import absolute, expand, redact

_COMMENT = re.compile(r"(^|\s+)#.*$")
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")
_LONG = {
    "-r": "--requirement", "-c": "--constraint", "-i": "--index-url", "-f": "--find-links", "-e": "--editable",
    "--pypi-url": "--index-url",
}  # fmt: skip
_TAKE_VALUE = ("--requirement", "--constraint", "--index-url", "--extra-index-url", "--find-links")
_REMEDIES = {
    "--editable": "an environment is built once and kept: build a wheel of it (uv build --wheel) and name that",
    "--no-binary": "give the packages to Env.from_file(…, from_source=[…])",
    "--only-binary": "wheels alone are taken in any case: leave the line out",
    "--hash": "with hashes it is a lock: Env(lock=…) installs just what it says",
    "--require-hashes": "with hashes it is a lock: Env(lock=…) installs just what it says",
}


@dataclass(frozen=True)
class Line:
    """A logical line: comments gone, continued lines joined, ``number`` that of the first of them."""

    file: Path
    number: int
    text: str

    @property
    def place(self) -> str:
        return f"{self.file}:{self.number}"

    def split(self) -> tuple[str, list[str]]:
        """The requirement, empty where there is none, and the options behind it as pip's own words."""
        words = self.text.split()
        first = next((index for index, word in enumerate(words) if word.startswith("-")), len(words))
        return " ".join(words[:first]), words[first:]


@dataclass
class _Found:
    requirements: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    extra_index_urls: list[str] = field(default_factory=list)
    find_links: list[str] = field(default_factory=list)
    index_url: str | None = None
    no_index: bool = False


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a requirement file asks for, by the names of ``Env``'s fields.

    Raises ``SpecError`` that names file, line and remedy.
    """
    found = _Found()
    _read(expand(os.fspath(path)), found, found.requirements, ())
    return {name: value for name, value in vars(found).items() if value}


def lines(file: Path) -> Iterator[Line]:
    """Yield the logical lines of a file, without the empty ones."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"the requirement file {file} cannot be read: {error}") from error
    for number, joined in _joined(text.splitlines()):
        stripped = _COMMENT.sub("", joined).strip()
        if stripped:
            yield Line(file, number, _VARIABLE.sub(lambda name: os.environ.get(name[1], name[0]), stripped))


def _joined(physical: list[str]) -> Iterator[tuple[int, str]]:
    """Join what a backslash continues. As in pip, a comment ends that, though its own last word may be a backslash."""
    start, parts = 0, list[str]()
    for number, line in enumerate(physical, 1):
        start = start if parts else number
        comment = _COMMENT.match(line) is not None
        if line.endswith("\\") and not comment:
            parts.append(line[:-1])
            continue
        yield start, "".join([*parts, f" {line}" if comment else line])
        parts = []
    if parts:
        yield start, "".join(parts)


def _read(file: Path, found: _Found, into: list[str], above: tuple[Path, ...]) -> None:
    if file in above:
        raise SpecError(f"the requirement file {file} includes itself, by way of {above[-1]}")
    for line in lines(file):
        requirement, options = line.split()
        if requirement:
            for option in options:
                raise _refused(line, option)
            try:
                into.append(rules.normalise(requirement, file.parent))
            except SpecError as error:
                raise SpecError(f"{line.place}: {error}") from error
        else:
            _take_options(line, found, into, (*above, file))


def _take_options(line: Line, found: _Found, into: list[str], above: tuple[Path, ...]) -> None:
    for name, value in _options(line):
        if name == "--no-index":
            found.no_index = True
        elif name in ("--requirement", "--constraint"):
            if "://" in value:
                raise SpecError(f"{line.place}: {redact(value)} is not on this machine: fetch it, and name the file")
            # what a file of constraints includes are constraints, too
            below = found.constraints if name == "--constraint" else into
            _read(expand(os.path.join(line.file.parent, os.path.expanduser(value))), found, below, above)
        elif name == "--index-url":
            found.index_url = absolute(value, line.file.parent)
        elif name == "--extra-index-url":
            found.extra_index_urls.append(absolute(value, line.file.parent))
        else:
            found.find_links.append(absolute(value, line.file.parent))


def _options(line: Line) -> Iterator[tuple[str, str]]:
    """Yield the options of a line by their long names. Raises ``SpecError`` for one that is not known."""
    try:
        words = iter(shlex.split(line.text))
    except ValueError as error:
        raise SpecError(f"{line.place}: {redact(line.text)!r} cannot be read: {error}") from error
    for word in words:
        if word.startswith("--"):
            name, equals, value = word.partition("=")
        else:  # "-r other.txt", "-rother.txt"
            name, value = word[:2], word[2:]
            equals = value
        name = _LONG.get(name, name)
        if name == "--no-index" and not equals:
            yield name, ""
            continue
        if name not in _TAKE_VALUE:
            raise _refused(line, word)
        value = value if equals else next(words, "")
        if not value:
            raise SpecError(f"{line.place}: {name} needs a value")
        yield name, value


def _refused(line: Line, word: str) -> SpecError:
    name = word.partition("=")[0]
    name = _LONG.get(name if name.startswith("--") else name[:2], name)
    remedy = _REMEDIES.get(name, "leave it out, and give Env.from_file what it stands for")
    return SpecError(f"{line.place}: {name} cannot be taken over: {remedy}")
