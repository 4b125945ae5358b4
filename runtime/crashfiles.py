"""Crash reports on disk: one JSON file each, written whole or not at all, and not too many in a folder.

The names begin with the time, so that sorted by name they are sorted by age. A report holds what a model printed, so
only its owner may read it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from isopod.ipc.errors import SpecError

KEPT = 100  # reports in a folder that crashes are written to by themselves
_PREFIX, _SUFFIX = "isopod-crash-", ".json"
_UNFINISHED = ".isopod-crash-"
_MAX_NAME = 60  # characters of a model's name in a file's


def write(path: Path, report: dict[str, Any]) -> Path:
    """Write a report's data to a file, or into a folder that exists. Raises ``OSError``, and then leaves nothing."""
    if path.is_dir():
        path = path / _file_name(report)
    descriptor, unfinished = tempfile.mkstemp(prefix=_UNFINISHED, dir=path.parent)
    try:
        # A model's name and a path may hold what is not Unicode (surrogates): ASCII takes all of it.
        with open(descriptor, "w", encoding="ascii") as file:
            json.dump(report, file, indent=1)
            file.write("\n")
        os.replace(unfinished, path)
    except BaseException:  # goes on to the caller; half a report must not stay
        with contextlib.suppress(OSError):
            os.unlink(unfinished)
        raise
    return path


def prune(folder: Path, keep: int = KEPT) -> None:
    """Remove the oldest of a folder's reports beyond ``keep``. Raises ``OSError`` where it cannot be listed."""
    names = sorted(name for name in os.listdir(folder) if name.startswith(_PREFIX) and name.endswith(_SUFFIX))
    for name in names[:-keep]:
        with contextlib.suppress(OSError):  # another application may prune the same folder
            os.unlink(folder / name)


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A saved report's data. Raises ``SpecError`` where there is none, or it is something else."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"{os.fspath(path)} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SpecError(f"{os.fspath(path)} is not a crash report: {error}") from error
    if not isinstance(found, dict) or type(found.get("schema")) is not int or type(found.get("text")) is not str:
        raise SpecError(f"{os.fspath(path)} is not a crash report of isopod")
    return found


def _file_name(report: dict[str, Any]) -> str:
    time = re.sub(r"[^0-9T.]", "", report["time"].partition("+")[0])
    model = re.sub(r"[^\w.-]+", "_", report["model"], flags=re.ASCII)[:_MAX_NAME]
    return f"{_PREFIX}{time}-{model}-{report['pid']}{_SUFFIX}"
