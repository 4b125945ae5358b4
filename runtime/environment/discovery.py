"""Where Python interpreters lie on a machine, found without running any of them.

``candidates()`` lists files that look like an interpreter, with as much of the version as their path gives away, so
that ``interpreter`` only has to run the few that may match. pyenv's shims and other scripts are left out: they
answer for another file, which is listed itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .urls import expand
from .versions import Version

_NAME = re.compile(r"python(?:(\d+)(?:\.(\d+))?)?")
_RELEASE = re.compile(r"(\d+)\.(\d+)\.(\d+)")
_UV_FOLDER = re.compile(r"cpython-(\d+)\.(\d+)\.(\d+)-.*")
_CONDA_RECORD = re.compile(r"python-(\d+)\.(\d+)\.(\d+)-.*\.json")


@dataclass(frozen=True)
class Candidate:
    """A file that looks like an interpreter; ``hint`` holds the leading numbers of its version that are known."""

    path: Path
    hint: Version | None


def candidates() -> Iterator[Candidate]:
    """Yield every candidate once (by real path), those on PATH first."""
    seen: set[Path] = set()
    for candidate in _all():
        try:
            real = candidate.path.resolve()
        except (OSError, RuntimeError):  # a loop of symbolic links is not an interpreter
            continue
        if real in seen or not os.access(real, os.X_OK) or not real.is_file() or _is_script(real):
            continue
        seen.add(real)
        yield Candidate(real, _longest(candidate.hint, _hint_of_name(real.name)))


def _all() -> Iterator[Candidate]:
    path = [Path(entry) for entry in os.environ.get("PATH", "").split(os.pathsep) if entry]
    for folder in (*path, Path("/usr/local/bin"), Path("/usr/bin")):
        yield from _in_folder(folder)
    pyenv = expand(os.environ.get("PYENV_ROOT") or "~/.pyenv")
    for release in _folders(pyenv / "versions"):
        match = _RELEASE.fullmatch(release.name)
        if match:
            yield _at(release, match)
    managed = os.environ.get("UV_PYTHON_INSTALL_DIR") or _data_home() / "uv" / "python"
    for release in _folders(Path(managed)):
        match = _UV_FOLDER.fullmatch(release.name)
        if match and not release.is_symlink():
            yield _at(release, match)
    for prefix in _conda_prefixes():
        for record in _names(prefix / "conda-meta"):
            match = _CONDA_RECORD.fullmatch(record)
            if match:
                yield _at(prefix, match)


def _at(prefix: Path, release: re.Match[str]) -> Candidate:
    """The interpreter of an installation whose folder or record named its release."""
    major, minor, patch = (int(part) for part in release.groups())
    return Candidate(prefix / "bin" / f"python{major}.{minor}", (major, minor, patch))


def _in_folder(folder: Path) -> Iterator[Candidate]:
    for name in _names(folder):
        if _NAME.fullmatch(name):
            yield Candidate(folder / name, _hint_of_name(name))


def _conda_prefixes() -> Iterator[Path]:
    active = os.environ.get("CONDA_PREFIX")
    if active:
        yield Path(active)
    executable = os.environ.get("CONDA_EXE")
    if executable:
        yield Path(executable).parent.parent
    # conda itself keeps this list of every environment that its user has made, the root one included
    try:
        listed = expand("~/.conda/environments.txt").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, RuntimeError):
        return
    yield from (Path(line) for line in listed.splitlines() if line.startswith(os.sep))


def _hint_of_name(name: str) -> Version | None:
    match = _NAME.fullmatch(name)
    if match is None or match[1] is None:
        return None
    return tuple(int(part) for part in match.groups() if part is not None)


def _longest(first: Version | None, second: Version | None) -> Version | None:
    return max(first or (), second or (), key=len) or None


def _is_script(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return True  # what cannot be read cannot be judged, and is not worth running


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _folders(folder: Path) -> list[Path]:
    return [folder / name for name in _names(folder) if (folder / name).is_dir()]


def _data_home() -> Path:
    return expand(os.environ.get("XDG_DATA_HOME") or "~/.local/share")
