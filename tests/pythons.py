"""Which Pythons this machine has, for tests of workers that run on others than ours."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


def need(version: str) -> None:
    """Skip the test where there is no such Python."""
    if not (shutil.which(f"python{version}") or list(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))):
        pytest.skip(f"no Python {version} on PATH or in ~/.pyenv/versions")
