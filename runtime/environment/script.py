"""What a Python file says of its own environment: inline script metadata (PEP 723).

https://packaging.python.org/en/latest/specifications/inline-script-metadata/ ::

    # /// script
    # requires-python = ">=3.11"
    # dependencies = ["scikit-learn==1.2.2", "numpy<2"]
    # ///

The file is read and never run. Of ``[tool.uv]`` that is taken over which ``Env`` has a word for; anything else there is
refused, for an environment without it would be another one than its author tried.
"""

from __future__ import annotations

import re
import tokenize
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isopod.ipc.errors import SpecError

from . import requirements as rules
from . import toml
from .dates import instant
from .urls import absolute
from .versions import PythonRequest

_OPENING = re.compile(r"# /// script\s*")
_CLOSING = re.compile(r"# ///\s*")
_CONTENT = re.compile(r"#( .*)?")
_REMEDY = "give the environment in code instead (env=isopod.Env(…))"
_UV_LISTS = {
    "extra-index-url": "extra_index_urls", "find-links": "find_links",
    "constraint-dependencies": "constraints", "override-dependencies": "overrides",
}  # fmt: skip


def read(file: Path) -> dict[str, Any] | None:
    """Return what the file's block asks for, by the names of ``Env``'s fields; None if it has no block.

    Raises ``SpecError`` that names file and line for one that is doubled, not closed, or asks for what cannot be.
    """
    block = _find(file)
    return None if block is None else _Reader(block).options()


def has_block(file: Path) -> bool:
    """Whether a file has such a block, be it malformed; False for a file that cannot be read: Python tells of it."""
    try:
        return any(_OPENING.fullmatch(line.decode("latin-1")) for line in file.read_bytes().splitlines())
    except OSError:
        return False


@dataclass(frozen=True)
class _Block:
    file: Path
    start: int  # the number of its opening line
    text: str

    def line_of(self, word: object) -> int:
        """Where a word first stands in the block; the opening line if it is not there as it is."""
        for number, line in enumerate(self.text.splitlines(), self.start + 1):
            if str(word) in line:
                return number
        return self.start

    def error(self, word: object, what: object) -> SpecError:
        return SpecError(f"{self.file}:{self.line_of(word)}: {what}")


def _find(file: Path) -> _Block | None:
    try:
        with tokenize.open(file) as stream:  # in the encoding that the file declares, as Python would
            lines = stream.read().splitlines()
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise SpecError(f"{file} cannot be read: {error}") from error
    found: _Block | None = None
    number = 0
    while number < len(lines):
        if not _OPENING.fullmatch(lines[number]):
            number += 1
            continue
        if found is not None:
            raise SpecError(f"{file}:{number + 1}: a second '# /// script' block; the first is in line {found.start}")
        end = number + 1
        while end < len(lines) and _CONTENT.fullmatch(lines[end]):
            end += 1
        # the last "# ///" of the comment closes it, as in the specification's own reader
        closing = next((at for at in range(end - 1, number, -1) if _CLOSING.fullmatch(lines[at])), None)
        if closing is None:
            raise SpecError(
                f"{file}:{number + 1}: this '# /// script' block is not closed: each of its lines begins with '# ', "
                "and the last one is '# ///'"
            )
        again = next((at for at in range(number + 1, closing) if _OPENING.fullmatch(lines[at])), None)
        if again is not None:
            raise SpecError(f"{file}:{again + 1}: a second '# /// script' block; the first is in line {number + 1}")
        found = _Block(file, number + 1, "\n".join(line[2:] for line in lines[number + 1 : closing]))
        number = closing + 1
    return found


class _Reader:
    """Turns one block into options."""

    def __init__(self, block: _Block) -> None:
        self._block = block
        self._folder = block.file.parent
        self._found: dict[str, Any] = {}

    def options(self) -> dict[str, Any]:
        table = toml.parse(self._block.text, self._block.file, self._block.start + 1)
        for name, value in table.items():
            if name == "dependencies":
                self._found["requirements"] = self._each(name, value, self._requirement)
            elif name == "requires-python":
                self._found["python"] = self._checked(name, value, PythonRequest.parse)
            elif name == "tool":
                self._uv(value.get("uv", {}) if isinstance(value, dict) else {})
            else:
                raise self._block.error(name, f"a script has dependencies, requires-python and tool, and no {name}")
        return self._found

    def _uv(self, table: object) -> None:
        if not isinstance(table, dict):
            raise self._block.error("uv", "tool.uv is not a table")
        for name, value in table.items():
            if name == "exclude-newer":
                self._found["exclude_newer"] = self._checked(name, value, instant)
            elif name == "index-url":
                self._found["index_url"] = self._location(self._checked(name, value))
            elif name == "no-index" and isinstance(value, bool):
                self._found["no_index"] = value
            elif name == "index":
                self._indexes(value)
            elif name in _UV_LISTS:
                dependencies = name.endswith("dependencies")
                field = _UV_LISTS[name]
                texts = self._each(name, value, self._requirement if dependencies else self._location)
                self._found[field] = [*self._found.get(field, []), *texts]
            else:
                raise self._block.error(name, f"tool.uv.{name} cannot be taken over; {_REMEDY}")

    def _indexes(self, tables: object) -> None:
        for table in tables if isinstance(tables, list) else [tables]:
            url = table.get("url") if isinstance(table, dict) else None
            if not isinstance(table, dict) or not isinstance(url, str):
                raise self._block.error("index", "tool.uv.index is a list of tables with a url each")
            for name, value in table.items():
                if name not in ("url", "name", "default") and value:
                    raise self._block.error(name, f"an index with {name!r} cannot be taken over; {_REMEDY}")
            if table.get("default"):
                self._found["index_url"] = self._location(url)
            else:
                self._found.setdefault("extra_index_urls", []).append(self._location(url))

    def _location(self, text: str) -> str:
        return absolute(text, self._folder)

    def _requirement(self, text: str) -> str:
        return rules.normalise(text, self._folder)

    def _each(self, name: str, values: object, convert: Callable[[str], str]) -> list[str]:
        if not isinstance(values, list):
            raise self._block.error(name, f"{name} is not a list of strings")
        found = []
        for value in values:
            text = self._checked(name, value)
            try:
                found.append(convert(text))
            except SpecError as error:
                raise self._block.error(text, error) from error
        return found

    def _checked(self, name: str, value: object, check: Callable[[str], object] | None = None) -> str:
        if not isinstance(value, str):
            raise self._block.error(name, f"{name}: {value!r} is not a string")
        try:
            if check is not None:
                check(value)
        except SpecError as error:
            raise self._block.error(name, error) from error
        return value
