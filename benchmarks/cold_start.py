"""How long until a model answers: a model that needs numpy alone, beside the interpreter that merely imports numpy.

All take turns. A bare interpreter is timed from its start to its end, isopod from ``load`` to ready and to the first
answer; the parts of a start are the worker's own account of it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import isopod
from benchmarks.effort import Effort
from benchmarks.progress import Progress
from benchmarks.results import Key, Results

NAME = "cold start"
READY, ANSWERED = "isopod, until ready", "isopod, until the first answer"
BARE = {"python -c pass": "pass", "python -c 'import numpy'": "import numpy"}
PARTS = {
    "attach": "hello, shared memory mapped",
    "activate": "the environment activated",
    "numpy": "import of numpy, and of what needs it",
    "module": "import of the model's file",
    "construct": "the model itself",
}
REST = "process started, our own imports"
_MODEL = f"{Path(__file__).resolve().parent / 'functions.py'}:first"
_ROUND = 0.6  # seconds, about


def planned(effort: Effort) -> float:
    """Seconds that ``run`` will take, about."""
    return _ROUND * (effort.starts + 1)


def run(effort: Effort, results: Results, progress: Progress) -> None:
    for number in range(effort.starts + 1):
        progress.step(f"{NAME}, {number} of {effort.starts}", _ROUND)
        taken = _round()
        if number:  # the first one warmed up the disk cache and started our two threads
            for what, (who, nanoseconds) in enumerate(taken.items()):
                phase = "part" if what >= len(BARE) + 2 else "whole"
                results.add(Key(NAME, "unpinned", phase, who), [nanoseconds])


def _round() -> dict[str, int]:
    taken: dict[str, int] = {}
    for name, code in BARE.items():
        began = time.perf_counter_ns()
        subprocess.run([sys.executable, "-c", code], check=True)
        taken[name] = time.perf_counter_ns() - began
    array = np.zeros(256, np.float32)
    began = time.perf_counter_ns()
    model = isopod.load(_MODEL)
    taken[READY] = time.perf_counter_ns() - began
    try:
        model(x=array)
        taken[ANSWERED] = time.perf_counter_ns() - began
        start = model.stats().start
    finally:
        model.close()
    parts = {text: int(start[part] * 1e9) for part, text in PARTS.items()}
    return {**taken, REST: max(0, int(start["total"] * 1e9) - sum(parts.values())), **parts}
