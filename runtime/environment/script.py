"""What a Python file says of its own environment: inline script metadata (PEP 723).

https://packaging.python.org/en/latest/specifications/inline-script-metadata/ ::

    # /// script
    # requires-python = ">=3.11"
    # dependencies = ["scikit-learn==1.2.2", "numpy<2"]
    # ///

The file is read and never run. Of ``[tool.uv]`` that is taken over which ``Env`` has a word for; anything else there is
refused, for an environment without it would be another one than its author tried. ``[tool.isopod]`` is the part of
run time, in the words of ``table``.
"""

from __future__ import annotations

import re
import tokenize
from dataclasses import replace
from pathlib import Path
from typing import Any

from isopod.ipc.errors import SpecError

from . import table, toml
from .fields import RUN_TIME, Fields, Text

_OPENING = re.compile(r"# /// script\s*")
_CLOSING = re.compile(r"# ///\s*")
_CONTENT = re.compile(r"#( .*)?")
_REMEDY = "give the environment in code instead (env=isopod.Env(…))"
_SCRIPT = {"dependencies": "requirements", "requires-python": "python"}
_UV = {
    "exclude-newer": "exclude_newer", "index-url": "index_url", "no-index": "no_index",
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


def _find(file: Path) -> Text | None:
    try:
        with tokenize.open(file) as stream:  # in the encoding that the file declares, as Python would
            lines = stream.read().splitlines()
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise SpecError(f"{file} cannot be read: {error}") from error
    found: Text | None = None
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
        found = Text(file, number + 1, "\n".join(line[2:] for line in lines[number + 1 : closing]))
        number = closing + 1
    return found


class _Reader:
    """Turns one block into options: other tools' names for what ``Fields`` knows the rules of."""

    def __init__(self, block: Text) -> None:
        self._block = block
        self._fields = Fields(block)

    def options(self) -> dict[str, Any]:
        document = toml.parse(self._block.text, self._block.file, self._block.start + 1)
        tools = document.pop("tool", {})
        for name, value in document.items():
            if name not in _SCRIPT:
                raise self._block.error(name, f"a script has dependencies, requires-python and tool, and no {name}")
            self._fields.take(_SCRIPT[name], name, value)
        if isinstance(tools, dict):
            self._uv(tools.get("uv", {}))
            block = replace(self._block, header="tool.isopod")
            ours = table.read(block, tools.get("isopod", {}), "tool.isopod", RUN_TIME)
            return {**self._fields.found, **ours}
        return self._fields.found

    def _uv(self, found: object) -> None:
        if not isinstance(found, dict):
            raise self._block.error("uv", "tool.uv is not a table")
        for name, value in found.items():
            if name == "index":
                self._indexes(value)
            elif name in _UV:
                self._fields.take(_UV[name], name, value)
            else:
                raise self._block.error(name, f"tool.uv.{name} cannot be taken over; {_REMEDY}")

    def _indexes(self, tables: object) -> None:
        for one in tables if isinstance(tables, list) else [tables]:
            url = one.get("url") if isinstance(one, dict) else None
            if not isinstance(one, dict) or not isinstance(url, str):
                raise self._block.error("index", "tool.uv.index is a list of tables with a url each")
            for name, value in one.items():
                if name not in ("url", "name", "default") and value:
                    raise self._block.error(name, f"an index with {name!r} cannot be taken over; {_REMEDY}")
            if one.get("default"):
                self._fields.take("index_url", "url", url)
            else:
                self._fields.take("extra_index_urls", "url", [url])
