"""What an installer works on: one plan, one folder that becomes the environment, and the way to run a program."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from isopod.runtime.environment.plan import Plan
from isopod.runtime.environment.steps import Steps


@dataclass(frozen=True)
class Work:
    """``inputs`` is a private folder for files of the installer's own; it is removed when the packages are there."""

    plan: Plan
    venv: Path
    site: Path
    inputs: Path
    steps: Steps
