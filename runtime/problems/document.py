"""Problems as TOML: read with the place of what is wrong, and written so that they are read as they were."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from isopod.ipc.errors import SpecError
from isopod.runtime.environment import toml

_ANY = "?"  # any size: TOML has no null
_TABLES = {"inputs": "input", "outputs": "output"}
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_Made = TypeVar("_Made")
_Path = tuple[str | int, ...]


class _Wrong(SpecError):
    """What is wrong, and where in the tables."""

    def __init__(self, message: str, path: _Path) -> None:
        super().__init__(message)
        self.path = path


def read(file: Path, make: Callable[[Mapping[str, Any]], _Made]) -> _Made:
    """What ``make`` makes of a file. Raises ``SpecError`` with the file and the line."""
    found = toml.read(file)
    try:
        return make(found)
    except SpecError as error:
        path = error.path if isinstance(error, _Wrong) else ("shared",)  # the rest is seen table by table
        raise SpecError(f"{file}:{_line(file, path)}: {error}") from None


def arguments(table: Mapping[str, Any], input_kind: type[Any], output_kind: type[Any]) -> dict[str, Any]:
    """What a problem is made with, from a document's tables. Raises ``SpecError``."""
    known = {"name", "version", "description", "shared", *_TABLES}
    _check_keys(table, known, "a problem", ())
    if "name" not in table:
        raise _Wrong('a problem has a name: name = "..."', ())
    for key in ("name", "version", "description"):
        if not isinstance(table.get(key, ""), str):
            raise _Wrong(f'the {key} is text: write {key} = "{table[key]}"', (key,))
    if not table["name"]:
        raise _Wrong("a problem has a name, and this one is empty", ("name",))
    kinds = {"inputs": input_kind, "outputs": output_kind}
    made = {key: value for key, value in table.items() if key not in kinds}
    for key, kind in kinds.items():
        items = table.get(key, [])
        if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
            raise _Wrong(f"{key} are tables: each begins with [[{key}]]", (key,))
        made[key] = [_field(kind, item, (key, number)) for number, item in enumerate(items)]
        names = [item["name"] for item in items]
        for number, name in enumerate(names):
            if name in names[:number]:
                raise _Wrong(f"there are two {key} with the name {name!r}", (key, number, "name"))
    return made


def _field(kind: type[Any], item: Mapping[str, Any], path: _Path) -> Any:
    what = _TABLES[str(path[0])]
    _check_keys(item, {field.name for field in dataclasses.fields(kind)}, f"an {what}", path)
    if "name" not in item:
        raise _Wrong(f'an {what} has a name: name = "..."', path)
    given = dict(item)
    if isinstance(given.get("shape"), list):
        given["shape"] = [None if dim == _ANY else dim for dim in given["shape"]]
    if "default" in given:
        given["default"] = _default(given["default"], given.get("dtype"))
    # one after the other, so that what is wrong is known by its key
    for key, value in given.items():
        try:
            if key != "default":
                kind(**{"name": given["name"], key: value})
        except SpecError as error:
            raise _Wrong(str(error), (*path, key)) from None
    try:
        return kind(**given)
    except SpecError as error:
        raise _Wrong(str(error), (*path, "default")) from None


def _default(value: Any, dtype: Any) -> Any:
    """TOML has neither bytes nor complex numbers: both are written as text."""
    if isinstance(value, list):
        return [_default(item, dtype) for item in value]
    if isinstance(value, str) and dtype == "bytes":
        return value.encode()
    if isinstance(value, str) and str(dtype).startswith("complex"):
        try:
            return complex(value)
        except ValueError:
            return value  # refused with its dtype
    return value


def _check_keys(table: Mapping[str, Any], known: set[str], what: str, path: _Path) -> None:
    for key in table:
        if key not in known:
            raise _Wrong(f"{what} has no {key!r}; it has {', '.join(sorted(known))}", (*path, key))


def _line(file: Path, path: _Path) -> int:
    """The line by which a document has what ``path`` leads to: the first at which what is above it parses, and has it.

    TOML's reader tells no places; a file of this kind is short, and is read again only to tell of a fault.
    """
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    while path:
        for number in range(1, len(lines) + 1):
            try:
                found: Any = toml.parse("".join(lines[:number]), file)
                for key in path:
                    found = found[key]
            except (SpecError, LookupError):
                continue  # in the middle of a value, or not there yet
            return number
        path = path[:-1]
    return 1


# ---------------------------------------------------------------------- writing


def tables(problem: Any) -> dict[str, Any]:
    """A problem as the tables of a document."""
    found = _said(problem)
    for key in _TABLES:
        found.pop(key, None)
        items = [_said(item) for item in getattr(problem, key)]
        if items:
            found[key] = items
    return found


def _said(value: Any) -> dict[str, Any]:
    """The fields that are not as they are without being said."""
    found = {}
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if item == field.default and type(item) is type(field.default):
            continue
        if field.name == "required" and value.default is not None:
            continue
        if field.name == "shape":
            item = [_ANY if dim is None else dim for dim in item]
        found[field.name] = _plain(item)
    return found


def _plain(item: Any) -> Any:
    if isinstance(item, tuple):
        return [_plain(part) for part in item]
    if isinstance(item, bytes):
        try:
            return item.decode()
        except UnicodeDecodeError:
            raise SpecError(f"the default {item!r:.60} is not UTF-8, so TOML cannot hold it") from None
    return str(item) if isinstance(item, complex) else item


def write(found: Mapping[str, Any], file: Path | None) -> str:
    """Tables as text; also into a file, if there is one. Raises ``SpecError``."""
    lines = [f"{_key(key)} = {_value(value)}" for key, value in found.items() if key not in _TABLES]
    for table in _TABLES:
        for item in found.get(table, []):
            lines += ["", f"[[{table}]]", *(f"{_key(key)} = {_value(value)}" for key, value in item.items())]
    text = "\n".join(lines) + "\n"
    if file is not None:
        try:
            file.write_text(text, encoding="utf-8")
        except OSError as error:
            raise SpecError(f"{file} cannot be written: {error.strerror}") from error
    return text


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # TOML's escapes are JSON's, but for one character that JSON leaves as it is
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return repr(value)  # nan and inf are TOML's own words, too
