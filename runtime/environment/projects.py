"""``isopod.toml``: the environments of a project, by name, in a file that lies beside its code.

It is found as ``pyproject.toml`` is: in the working directory, or else in the nearest folder above it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from isopod.ipc.errors import SpecError

from . import table, toml
from .fields import Text
from .urls import expand

FILE = "isopod.toml"
_ONE, _MANY = "environment", "environments"


def find(folder: str | os.PathLike[str] = "") -> Path:
    """The ``isopod.toml`` of a folder or of the nearest one above it. Raises ``SpecError`` where there is none."""
    start = expand(os.fspath(folder))
    for place in (start, *start.parents):
        if (place / FILE).is_file():
            return place / FILE
    raise SpecError(f"there is no {FILE} in {start} or a folder above it")


def read(path: str | os.PathLike[str], name: str | None = None) -> dict[str, Any]:
    """Return what a file says of one environment, by the names of ``Env``'s fields.

    Without a name it is the file's only one: ``[environment]``, or the one table of ``[environments]``. Raises
    ``SpecError`` that names file, line and what there is.
    """
    text, tables = _tables(expand(os.fspath(path)))
    if name is None and _ONE in tables:
        return _read(text, tables[_ONE], _ONE, _ONE)
    named = tables.get(_MANY, {})
    there = ", ".join(sorted(named)) or "none"
    if name is None and len(named) != 1:
        raise SpecError(f"{text.file} has {len(named)} environments: say which, of {there}")
    chosen = next(iter(named)) if name is None else name
    if chosen not in named:
        raise SpecError(f"{text.file} has no environment {chosen!r}{table.nearest(chosen, named) if named else ''}")
    return _read(text, named[chosen], f"{_MANY}.{chosen}", f"{_MANY}.{table.quoted(chosen)}")


def names(path: str | os.PathLike[str]) -> list[str]:
    """The names of a file's environments, as they stand in it. Raises ``SpecError``."""
    return list(_tables(expand(os.fspath(path)))[1].get(_MANY, {}))


def write(values: Mapping[str, Any], name: str | None) -> str:
    """The text of one environment: ``[environments.NAME]``, or without a name ``[environment]``."""
    return table.write(values, _ONE if name is None else f"{_MANY}.{table.quoted(name)}")


def _read(text: Text, found: object, what: str, header: str) -> dict[str, Any]:
    return table.read(replace(text, header=header), found, what)


def _tables(file: Path) -> tuple[Text, dict[str, Any]]:
    source = toml.text_of(file)
    text = Text(file, 0, source)
    tables = toml.parse(source, file)
    for key in tables:
        if key not in (_ONE, _MANY):
            raise text.error(key, f"there is no table {key!r} here{table.nearest(key, (_ONE, _MANY))}")
    if not isinstance(tables.get(_MANY, {}), dict):
        raise text.error(_MANY, f"{_MANY} is a table of tables: [{_MANY}.NAME]")
    return text, tables
