"""Model files for tests: each written by its own framework, in a worker, into a folder of the test's."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from backends.environments import environment

import isopod

WRITERS = Path(__file__).resolve().parent / "writers"


def write(folder: Path, writer: str, env: str, files: Iterable[tuple[str, str]], library: str = "") -> isopod.Env:
    """Write (kind, file name) pairs with the function ``write`` of ``writers/<writer>_files.py``."""
    where = environment(env)
    with isopod.load(f"{WRITERS / writer}_files.py:write", env=where, name=f"{writer} writer") as model:
        for kind, name in files:
            model({"kind": kind, "path": str(folder / name), "library": library})
    return where
