"""``isopod.toml``, the one file of ours in a pod: where its model runs, within which limits, and what it is. ::

    [environment]
    requirements = ["scikit-learn==1.2.2", "numpy<2"]
    python = "3.11"
    lock = "pylock.toml"             # a file of the pod; then what is installed is what it says

    [limits]                         # of isopod.load, whose own arguments win
    timeout = 2.0
    memory-limit = 1073741824

    [problem]
    name = "digits"
    version = "1"
    path = "problem.toml"            # a file of the pod

    [metadata]
    description = "Handwritten digits, 8×8"
    licence = "BSD-3-Clause"
    homepage = "https://example.org/digits"

    [sandbox]                        # at least "limits": a pod cannot ask for less
    profile = "strict"
    scratch = 67108864

All of it is optional, and so is the file.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isopod.ipc.errors import SpecError
from isopod.runtime.environment import Env, table, toml
from isopod.runtime.environment.fields import Text
from isopod.runtime.options import LIMITS
from isopod.runtime.sandbox import NONE, Sandbox

from . import layout
from .contents import Contents, read_text

_TABLES = ("environment", "limits", "metadata", "problem", "sandbox")
_METADATA = ("description", "homepage", "licence")
_PROBLEM = ("name", "path", "version")
# Of an environment's fields those that cannot run anything of the pod before its worker does, nor lead to this machine.
_ENVIRONMENT = ("constraints", "exclude_newer", "lock", "overrides", "python", "requirements", "threads")
_SANDBOX = (
    "address_space", "allow_subprocess", "max_file_size", "max_files", "max_processes", "profile", "scratch",
)  # fmt: skip
_LOCKED = ("constraints", "exclude_newer", "overrides", "requirements")  # a lock is made of these


@dataclass(frozen=True)
class Section:
    """What the file says. ``limits`` are arguments of ``load``, and ``environment`` fields of ``Env``."""

    environment: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)
    problem: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    sandbox: Mapping[str, Any] = field(default_factory=dict)

    def env(self, folder: Path) -> Env | None:
        """The environment, with the lock of the pod in ``folder``; None where it says none. Raises ``SpecError``."""
        if not self.environment:
            return None
        if "lock" not in self.environment:
            return Env(**self.environment)
        # it says all that is installed: the requirements beside it are what it was made from
        rest = {field: value for field, value in self.environment.items() if field not in _LOCKED}
        return Env(**{**rest, "lock": folder / self.environment["lock"]})


def read(contents: Contents) -> Section:
    """Raises ``SpecError`` that names the pod, the table and the key; for a word that is none, the nearest one."""
    if layout.SECTION not in contents.sizes:
        return Section()
    file = contents.place / layout.SECTION
    text = Text(file, 0, read_text(contents, layout.SECTION), "environment")
    document = toml.parse(text.text, file)
    for name, found in document.items():
        _check_word(name, _TABLES, str(file))
        if not isinstance(found, dict):
            raise SpecError(f"{file}: {name} is not a table")
    environment = _environment(text, document.get("environment", {}))
    problem = _texts(document, "problem", _PROBLEM, file)
    for said, key in ((environment, "lock"), (problem, "path")):
        if key in said and said[key] not in contents.sizes:
            raise SpecError(f"{file}: {key} = {said[key]!r} is no file of the pod")
    return Section(
        environment,
        _limits(document.get("limits", {}), file),
        problem,
        _texts(document, "metadata", _METADATA, file),
        _sandbox(document.get("sandbox", {}), file),
    )


def write(section: Section) -> str:
    """The text that ``read`` takes as an equal value."""
    lines = []
    for name in _TABLES:
        said: Mapping[str, Any] = getattr(section, name)
        if said:
            lines += [f"[{name}]", *(f"{key.replace('_', '-')} = {_value(value)}" for key, value in said.items()), ""]
    return "\n".join(lines)


def _environment(text: Text, said: Mapping[str, Any]) -> dict[str, Any]:
    """By the reader of every environment's table; but a lock keeps its name, for the pod may yet be in a zip."""
    found = table.read(text, said, "environment", _ENVIRONMENT)
    if os.sep in (found.get("python") or ""):
        raise text.error("python", "python is a version or a range: a pod names no interpreter of this machine")
    return {**found, "lock": said["lock"]} if "lock" in found else found


def _texts(document: Mapping[str, Any], name: str, known: Iterable[str], file: Path) -> dict[str, Any]:
    said = document.get(name, {})
    for key, value in said.items():
        _check_word(key, known, f"{file}: [{name}]")
        if not isinstance(value, str):
            raise SpecError(f"{file}: [{name}] {key} = {value!r} is not a string")
    return dict(said)


def _limits(said: Mapping[str, Any], file: Path) -> dict[str, Any]:
    found = {}
    for key, value in said.items():
        name = key.replace("-", "_")
        _check_word(name, LIMITS, f"{file}: [limits]")
        kind = LIMITS[name]
        number = isinstance(value, int) or (kind is float and isinstance(value, float))
        if isinstance(value, bool) or not number or not 0 <= value < float("inf"):
            whole = "a whole number" if kind is int else "a number"
            raise SpecError(f"{file}: [limits] {key} = {value!r} is not {whole} from 0 on")
        found[name] = kind(value)
    if "workers" in found:  # what suited another machine is not to flood this one
        found["workers"] = max(1, min(found["workers"], os.cpu_count() or 1))
    return found


def _sandbox(said: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Fields of ``Sandbox`` without those that lead to this machine's files."""
    found = {key.replace("-", "_"): value for key, value in said.items()}
    for name in found:
        _check_word(name, _SANDBOX, f"{file}: [sandbox]")
    try:
        asked = Sandbox(**found)
    except SpecError as error:
        raise SpecError(f"{file}: [sandbox] {error}") from None
    if asked.profile == NONE:
        raise SpecError(f"{file}: [sandbox] a pod cannot ask for none; who trusts it gives sandbox='none' to load")
    return found


def _check_word(word: str, known: Iterable[str], where: str) -> None:
    names = sorted(known)
    if word not in names:
        close = difflib.get_close_matches(word, names, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(names)}"
        raise SpecError(f"{where}: there is no {word!r}; {hint}")


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(str(key))} = {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")  # a basic string: escaped as in JSON
