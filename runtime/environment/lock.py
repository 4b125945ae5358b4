"""Lock files: which kinds there are, what is in them, and what stands for one in a cache key.

Three kinds are understood, told apart by their names: ``pylock.toml`` (PEP 751), ``uv.lock`` with the
``pyproject.toml`` beside it, and a requirement file in which each line has a hash. A lock says all that is installed,
so nothing is added to it: it must hold numpy, which the worker needs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from isopod.ipc.errors import SpecError

from . import reqfiles, toml
from .requirements import OURS, sha256_of
from .urls import expand
from .versions import PythonRequest

Kind = Literal["pylock", "uv", "hashes"]
_PYLOCK = re.compile(r"pylock(\.[^.]+)?\.toml")
# In a requirement file: lines that lead to other files, whose contents are not those of the lock.
_REFERS = re.compile(r"(-[rce](?!-)|--requirement\b|--constraint\b|--editable\b)")
# Of other tools: their names end like this, and they are no requirement files.
_FOREIGN = (".lock", ".toml", ".json", ".yaml", ".yml", ".py")


@dataclass(frozen=True)
class Lock:
    """A lock file that was looked at. ``identity`` is made of contents alone, wherever the file lies.

    ``python`` is the range of Pythons that it was made for, where it says so.
    """

    path: Path
    kind: Kind
    identity: str
    python: str | None = None

    def __str__(self) -> str:
        return f"the lock {self.path}"


def read(given: str | os.PathLike[str]) -> Lock:
    """Look at a lock file. Raises ``SpecError``, with the remedy, if it is none or numpy is not in it."""
    path = expand(os.fspath(given))
    if not path.is_file():
        raise SpecError(f"lock: there is no file {path}")
    kind = _kind(path)
    files = [path]
    if kind == "uv":
        # it holds what uv takes from the lock by default, and uv reads neither without the other
        files.append(path.parent / "pyproject.toml")
        if not files[1].is_file():
            raise SpecError(f"lock={str(path)!r}: there is no pyproject.toml beside it, which belongs to it")
    names, python = (_names_in_hashed(path), None) if kind == "hashes" else _facts_in_toml(path, kind)
    if OURS not in names:
        raise SpecError(
            f"lock={str(path)!r}: {OURS} is not in it, and the worker needs it in every environment: "
            f"add {OURS} to what is locked, and lock again"
        )
    return Lock(path, kind, " ".join([kind, *(f"sha256={sha256_of(file)}" for file in files)]), python)


def _kind(path: Path) -> Kind:
    if path.name == "uv.lock":
        return "uv"
    if _PYLOCK.fullmatch(path.name):
        return "pylock"
    if path.suffix in _FOREIGN:
        raise SpecError(
            f"lock={str(path)!r}: give a pylock.toml (or pylock.<name>.toml), a uv.lock, or a requirement file with "
            "hashes; most tools can export one of them"
        )
    return "hashes"


def _facts_in_toml(path: Path, kind: Kind) -> tuple[set[str], str | None]:
    table = "packages" if kind == "pylock" else "package"
    document = toml.read(path)
    found: Any = document.get(table, [])
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise SpecError(f"lock={str(path)!r}: {table} is not a list of tables; this is not a {path.name}")
    if kind == "pylock":
        check_held(path, found)
    python = document.get("requires-python")
    try:
        PythonRequest.parse(None if python is None else str(python))
    except SpecError as error:
        raise SpecError(f"lock={str(path)!r}: requires-python: {error}") from error
    names: set[str] = {canonicalize_name(str(item.get("name", ""))) for item in found}
    return names, None if python is None else str(python)


def check_held(lock: Path, packages: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a ``pylock.toml`` that leads to a folder, whose contents are neither in the lock nor in the key.

    Raises ``SpecError`` that names it.
    """
    folders = sorted(str(item.get("name", "?")) for item in packages if "directory" in item)
    if folders:
        raise SpecError(
            f"lock={str(lock)!r}: {', '.join(folders)} would be installed from a folder, which a lock does not hold: "
            "build a wheel of it (uv build --wheel), name that instead, and lock again"
        )


def check_exported(lock: Path, pylock: Path) -> None:
    """``check_held`` for what uv made of its own lock. Raises ``SpecError``."""
    check_held(lock, toml.read(pylock).get("packages", []))


def _names_in_hashed(path: Path) -> set[str]:
    names: set[str] = set()
    for line in reqfiles.lines(path):
        requirement, options = line.split()
        if not requirement:
            if _REFERS.match(options[0]):
                raise SpecError(f"{line.place}: a lock is one file, and holds packages with their hashes only")
            continue  # where packages come from: uv reads it from the file itself
        if not any(option.startswith("--hash") for option in options):
            raise SpecError(
                f"{line.place}: this has no --hash, so the file is no lock: make one with "
                "'uv pip compile --generate-hashes', or give it to Env.from_file"
            )
        try:
            names.add(canonicalize_name(Requirement(requirement).name))
        except InvalidRequirement as error:
            raise SpecError(f"{line.place}: {str(error).splitlines()[0]}") from error
    return names
