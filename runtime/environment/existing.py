"""An environment that is already there, turned into what a worker needs: its base interpreter and its site folders.

Nothing is installed, written or imported: the folders are looked at, and the base interpreter is asked (``-I -S``)
which folders it would use; with ``-B``, for not even bytecode is written. Debian's ``dist-packages`` and a user's own
site come out of that answer.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from isopod.ipc.errors import SpecError

from .interpreter import Interpreter, base_of_venv, clean_environment, probe, read_pyvenv

_ASK_SECONDS = 10.0
# User site first, as Python itself orders them. "-S" keeps the .pth files in them from running here.
_ASK = "import json, site; print(json.dumps([site.getusersitepackages()] + site.getsitepackages()))"


@dataclass(frozen=True)
class Found:
    """An existing environment: ``base`` is what to run, ``executable`` its own interpreter, ``prefix`` its root."""

    base: Interpreter
    executable: Path
    prefix: Path
    site_dirs: tuple[Path, ...]


def resolve(path: str | os.PathLike[str]) -> Found:
    """Look at a virtual environment, an environment's prefix (conda, an installation) or an interpreter.

    Raises ``SpecError``, naming the path, if there is none, or if its base interpreter is gone or has changed version.
    """
    given = Path(os.path.abspath(path))
    if not given.exists():
        # a link whose target is gone is the usual way for a virtual environment to break
        gone = f"it points to {os.readlink(given)}, which is gone" if given.is_symlink() else "there is nothing"
        raise SpecError(f"no environment at {given}: {gone}")
    prefix = given if given.is_dir() else _prefix_of(given)
    if prefix is not None and (prefix / "pyvenv.cfg").is_file():
        return _venv(prefix)
    executable = _interpreter_in(given) if given.is_dir() else given
    base = probe(executable)
    return Found(base, base.executable, base.prefix, _existing_only(_sites_of(base)))


def _prefix_of(interpreter: Path) -> Path | None:
    """The virtual environment that an interpreter belongs to. Its link is not followed: that leads out of it."""
    for folder in (interpreter.parent.parent, interpreter.parent):
        if (folder / "pyvenv.cfg").is_file():
            return folder
    return None


def _venv(prefix: Path) -> Found:
    # an interpreter that was removed leaves its name in several places: the first that exists is taken
    file = next((file for file in base_of_venv(prefix) if os.access(file, os.X_OK)), None)
    if file is None:
        home = read_pyvenv(prefix).get("home", "an unknown folder")
        raise SpecError(f"the environment at {prefix} is broken: its interpreter (in {home}) is gone; make it again")
    base = probe(file)
    folders = [prefix / lib / f"python{base.minor}" / "site-packages" for lib in ("lib", "lib64")]
    own = _existing_only(folders)
    if not own:
        there = ", ".join(sorted(item.name for item in prefix.glob("lib/python*"))) or "none"
        raise SpecError(
            f"the environment at {prefix} is broken: it has no site-packages for its interpreter {base}, only {there}"
        )
    shared: list[Path] = []
    if read_pyvenv(prefix).get("include-system-site-packages", "").lower() == "true":
        shared = _sites_of(base)
    return Found(base, prefix / "bin" / "python", prefix, _existing_only([*own, *shared]))


def _interpreter_in(prefix: Path) -> Path:
    for name in ("python3", "python"):
        if (prefix / "bin" / name).exists():
            return prefix / "bin" / name
    raise SpecError(f"{prefix} is not an environment: it has neither pyvenv.cfg nor bin/python")


def _sites_of(base: Interpreter) -> list[Path]:
    command = [str(base.executable), "-I", "-S", "-B", "-c", _ASK]
    try:
        answer = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_ASK_SECONDS, cwd="/",
            env=clean_environment(), check=True,
        )  # fmt: skip
        return [Path(item) for item in json.loads(answer.stdout)]
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise SpecError(f"{base} did not say where its packages are: {error}") from error


def _existing_only(folders: list[Path]) -> tuple[Path, ...]:
    """The folders that are there, each once (``lib64`` is often a link to ``lib``)."""
    kept: dict[str, Path] = {}
    for folder in folders:
        if folder.is_dir():
            kept.setdefault(os.path.realpath(folder), folder)
    return tuple(kept.values())
