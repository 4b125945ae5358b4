"""Builds the prototype's extension: one binary for Python 3.8 and later, by whatever C compiler there is."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

SOURCE = Path(__file__).with_name("hotpath.c")
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-missing-field-initializers"]
WARNINGS += ["-Wno-cast-function-type"]


class Unavailable(Exception):
    """It cannot be built here; the text says why."""


def build(folder: Path) -> Path:
    """The extension, in ``folder``. Raises ``Unavailable``."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise Unavailable("there is no C compiler")
    include = sysconfig.get_paths()["include"]
    if not Path(include, "Python.h").exists():
        raise Unavailable(f"this Python has no headers in {include}")
    made = folder / "hotpath.abi3.so"
    command = [compiler, "-shared", "-fPIC", "-O2", *WARNINGS, f"-I{include}", "-o", made, SOURCE, "-lpthread"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise Unavailable(f"it does not compile:\n{done.stderr}")
    return made
