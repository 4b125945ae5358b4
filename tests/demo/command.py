"""Runs the command line as a user does: the installed script's module, another process, an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

COMMAND = [sys.executable, "-m", "isopod"]


def environment(**extra: str) -> dict[str, str]:
    """This process's, without what would colour or steer the output."""
    dropped = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM")
    return {**{name: value for name, value in os.environ.items() if name not in dropped}, "TERM": "xterm", **extra}


def isopod(*arguments: str, cwd: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], cwd=cwd, env=environment(**extra), capture_output=True, text=True)
