"""The process whose calls are counted: warm up, then two kinds of calls. Says as JSON what it counted.

Under callgrind (``MARKS`` names the library of marks) it sets a mark between any two calls, and says which processes
caller and worker are: the counts are in callgrind's files. Otherwise it counts the bytecodes of both itself.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

MARKS = "ISOPOD_BENCH_MARKS"
PHASES = ("1 KB, small", "1 KB, x + 1, copies")
WARM, CALLS = 40, 30  # calls of each phase
_MODEL = Path(__file__).with_name("subject_model.py")


def main() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if MARKS in os.environ:
        _do_without_pidfd()
    import isopod

    variables = {MARKS: os.environ[MARKS]} if MARKS in os.environ else {}
    with isopod.load(f"{_MODEL}:Subject", env=isopod.Env.current(variables=variables), sandbox="none") as model:
        x = model.empty("x", 256)
        x[:] = 1
        row = np.ones((1, 256), np.float32)  # a row comes back whole, see subject_model.py
        phases: list[Callable[[], object]] = [lambda: model(x=x), lambda: model(x=row)]
        for call in phases:
            for _ in range(WARM):
                call()
        model(do="begin")
        told = _marked(model, phases) if MARKS in os.environ else _counted(model, phases)
    print(json.dumps(told))


def _marked(model: Any, phases: list[Callable[[], object]]) -> dict[str, Any]:
    marks = ctypes.CDLL(os.environ[MARKS])
    marks.start()
    for call in phases:
        marks.mark()
        for _ in range(CALLS):
            call()
            marks.mark()
    return {"caller": os.getpid(), "worker": model.health.pid}


def _counted(model: Any, phases: list[Callable[[], object]]) -> dict[str, list[int]]:
    told: dict[str, list[int]] = {}
    for name, call in zip(PHASES, phases, strict=True):
        counter = Counter()
        for _ in range(CALLS):
            sys.settrace(counter)
            call()
            sys.settrace(None)
            told.setdefault(f"{name}, caller", []).append(counter.taken())
    counts = [int(count) for count in model(do="tell")["counts"]]
    for number, name in enumerate(PHASES):
        told[f"{name}, worker"] = counts[number * CALLS + 1 : (number + 1) * CALLS]
    return told


class Counter:
    """A trace function: how many bytecodes have been run."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, frame: FrameType, event: str, _: object) -> Any:
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        self._count += event == "opcode"
        return self

    def taken(self) -> int:
        """How many there were since the last time."""
        count, self._count = self._count, 0
        return count


def _do_without_pidfd() -> None:
    """An older valgrind has no ``pidfd_open``. What stands in for it is a pipe that never ends: nobody dies here."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        processes: dict[int, tuple[int, int]] = {}

        def pidfd_open(pid: int, flags: int = 0) -> int:
            reader, writer = os.pipe()
            processes[reader] = pid, writer
            return reader

        def pidfd_send_signal(descriptor: int, number: int, *_: object) -> None:
            os.kill(processes[descriptor][0], number)

        os.pidfd_open, signal.pidfd_send_signal = pidfd_open, pidfd_send_signal


if __name__ == "__main__":
    main()
