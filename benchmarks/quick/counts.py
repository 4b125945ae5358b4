"""What one call takes, counted: instructions by callgrind where it is installed, and bytecodes of Python everywhere.

The subject is a process of its own, ``benchmarks.quick.subject``, pinned to one core, where neither side spins: so a
call is the same sequence of steps each time, and the median of many is the same within one percent from run to run.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.quick.baseline import COUNT, Figure
from benchmarks.quick.subject import MARKS, PHASES

_ROOT = Path(__file__).resolve().parent.parent.parent
_SOURCE = Path(__file__).with_name("marks.c")
_PATIENCE = 300.0  # seconds: a busy machine, and fifty times slower
BYTECODES_PLANNED, INSTRUCTIONS_PLANNED = 3.0, 25.0  # seconds, about


class Unavailable(Exception):
    """Instructions cannot be counted here; the text says why."""


def counted_on() -> str:
    """What counts depend on, besides our own code."""
    python = f"{platform.python_implementation()} {'.'.join(platform.python_version_tuple()[:2])}"
    return f"{python}, numpy {'.'.join(np.__version__.split('.')[:2])}, {platform.machine()}"


def bytecodes() -> dict[str, Figure]:
    """Of each side, for each kind of call."""
    counted = json.loads(_run([sys.executable, "-m", "benchmarks.quick.subject"], {}))
    return {f"bytecodes, {name}": Figure(COUNT, statistics.median(values)) for name, values in counted.items()}


def instructions() -> dict[str, Figure]:
    """The same, by callgrind. Raises ``Unavailable``."""
    valgrind, compiler = shutil.which("valgrind"), shutil.which("cc") or shutil.which("gcc")
    if valgrind is None:
        raise Unavailable("there is no valgrind (the package of that name)")
    if compiler is None:
        raise Unavailable("there is no C compiler, for the marks between which callgrind counts")
    with tempfile.TemporaryDirectory(prefix="isopod-bench-") as name:
        folder = Path(name)
        marks = folder / "marks.so"
        build = [compiler, "-shared", "-fPIC", "-O2", "-o", str(marks), str(_SOURCE)]
        built = subprocess.run(build, check=False, capture_output=True, text=True)
        if built.returncode:
            raise Unavailable(f"the marks cannot be compiled: {built.stderr.strip().splitlines()[0]}")
        options = ["-q", f"--log-file={folder}/log.%p", "--instr-atstart=no", "--trace-children=yes"]
        command = [valgrind, "--tool=callgrind", *options, f"--callgrind-out-file={folder}/out.%p"]
        try:
            told = json.loads(_run([*command, sys.executable, "-m", "benchmarks.quick.subject"], {MARKS: str(marks)}))
        except subprocess.CalledProcessError as error:
            lines = (error.stderr or "").strip().splitlines() or ["it said nothing"]
            raise Unavailable(f"isopod does not run under this valgrind: {lines[-1]}") from None
        found = {}
        for side in ("caller", "worker"):
            dumps = _dumps(folder, told[side])
            each = len(dumps) // len(PHASES)
            for number, phase in enumerate(PHASES):
                stretch = dumps[number * each + 1 : (number + 1) * each]  # the first one leads up to the phase
                found[f"instructions, {phase}, {side}"] = Figure(COUNT, statistics.median(stretch))
        return found


def _dumps(folder: Path, process: int) -> list[int]:
    """The instructions between one mark and the next, in order."""
    files = sorted(folder.glob(f"out.{process}.*"), key=lambda path: int(path.suffix[1:]))
    lines = [line for path in files for line in path.read_text().splitlines() if line.startswith("summary:")]
    return [int(line.split()[1]) for line in lines]


def _run(command: list[str], variables: dict[str, str]) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": "0", **variables}
    done = subprocess.run(
        command, cwd=_ROOT, env=environment, check=True, capture_output=True, text=True, timeout=_PATIENCE
    )
    return done.stdout
