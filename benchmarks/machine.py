"""The machine's facts, with the commit that is measured."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

from isopod.runtime.bench import machine
from isopod.runtime.bench.machine import Load

__all__ = ["Load", "facts"]


def facts() -> dict[str, str]:
    """Name and value, in the order of the report."""
    found = machine.facts()
    return {**found, "isopod": found["isopod"] + _commit()}


def _commit() -> str:
    """The commit, where this is a git repository; with a plus where files differ from it."""
    root = Path(__file__).resolve().parent.parent
    command = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--exclude=*"]
    with contextlib.suppress(OSError):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode == 0:
            return f" ({done.stdout.strip()})"
    return ""
