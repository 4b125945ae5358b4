"""What runs inside workers is valid on every Python from 3.7 on: syntax, and the standard library it imports."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import pytest
from architecture.test_arrows import imports_of
from repository import ROOT, product_files

CHILD_FILES = [path for path in product_files() if path.parts[0] in ("ipc", "opeworker")]
VERSIONS = [f"3.{minor}" for minor in range(7, 16)]
CLEAN = ["-I", "-S", "-B"]  # no environment, no site-packages, no .pyc left behind

COMPILE = """
import sys
for name in sys.argv[1:]:
    with open(name, encoding="utf-8") as file:
        compile(file.read(), name, "exec")
"""
MISSING = """
import importlib.util, json, sys
print(json.dumps([name for name in sys.argv[1:] if importlib.util.find_spec(name) is None]))
"""


@lru_cache
def interpreter(version: str) -> str | None:
    """A Python of this version that answers: on PATH, or one that pyenv keeps."""
    kept = sorted(Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv").glob(f"versions/{version}.*/bin/python"))
    for candidate in (shutil.which(f"python{version}"), *map(str, kept)):
        if candidate:
            command = [candidate, *CLEAN, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
            if subprocess.run(command, capture_output=True, text=True).stdout.strip() == version:
                return candidate
    return None


@pytest.fixture(params=VERSIONS)
def python(request: pytest.FixtureRequest) -> str:
    found = interpreter(request.param)
    if found is None:
        pytest.skip(f"no Python {request.param} on PATH or in ~/.pyenv/versions")
    return found


def run(python: str, code: str, arguments: list[str]) -> str:
    done = subprocess.run([python, *CLEAN, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_syntax(python: str) -> None:
    assert run(python, COMPILE, [str(path) for path in CHILD_FILES]) == ""  # no warning of the compiler's either


def test_standard_library(python: str) -> None:
    """Only what is imported as a file loads: what stands in a function or a try may be for newer versions."""
    modules = set()
    for path in CHILD_FILES:
        found = imports_of(path, (ROOT / path).read_text(encoding="utf-8"))
        modules |= {one.module.split(".")[0] for one in found if not one.optional}
    modules -= {"isopod", "numpy"}
    assert json.loads(run(python, MISSING, sorted(modules))) == []
