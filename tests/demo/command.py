"""Runs the command line as a user does: the installed script's module, another process, an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from isopod import SpecError
from isopod.demo.pickles import versions
from isopod.runtime.environment import find_interpreter

COMMAND = [sys.executable, "-m", "isopod"]


def environment(**extra: str) -> dict[str, str]:
    """This process's, without what would colour or steer the output."""
    dropped = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM")
    return {**{name: value for name, value in os.environ.items() if name not in dropped}, "TERM": "xterm", **extra}


def isopod(*arguments: str, cwd: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], cwd=cwd, env=environment(**extra), capture_output=True, text=True)


def need_its_pythons() -> None:
    """Skip the test where the demo cannot run."""
    try:
        for version in versions():
            find_interpreter(version.env.python)
    except SpecError as error:
        pytest.skip(f"the demo cannot run here: {error}")
