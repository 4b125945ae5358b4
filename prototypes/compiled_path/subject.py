"""The model that is measured, pure or compiled as its environment says; it also counts what the worker does, if asked.

The worker runs on Python 3.8, too, so this does.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import sys
from collections import Counter
from typing import Any

import numpy as np

EXTENSION, PUT, MARKS = "PROTOTYPE_EXTENSION", "PROTOTYPE_PUT", "ISOPOD_BENCH_MARKS"

if os.environ.get(EXTENSION):
    runpy.run_path(os.environ[PUT])["in_worker"](os.environ[EXTENSION])


class Bytecodes:
    """A trace function: how many bytecodes are run, by the folder of the product that they stand in."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()

    def __call__(self, frame: Any, event: str, _: object) -> Any:
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if event == "opcode":
            self.found[os.path.basename(os.path.dirname(frame.f_code.co_filename)) or "frozen"] += 1
        return self

    def begin(self) -> None:
        """From now on, and in the frames that called us."""
        sys.settrace(self)
        frame: Any = sys._getframe(1)
        while frame is not None:
            self(frame, "call", None)
            frame.f_trace = self
            frame = frame.f_back


class Subject:
    """One input: its first element comes back. Many: how many there were."""

    def __init__(self) -> None:
        self._marks = ctypes.CDLL(os.environ[MARKS]) if MARKS in os.environ else None
        self._begun = False
        self._bytecodes = Bytecodes()

    def __call__(self, x: Any = None, do: str = "", **many: Any) -> Any:
        if do == "begin" and self._marks is not None:
            self._marks.start()
            self._begun = True
        elif self._begun and self._marks is not None:
            self._marks.mark()
        elif do == "trace":
            self._bytecodes.begin()
        elif do == "told":
            sys.settrace(None)
            return {"told": np.array([f"{folder} {count}" for folder, count in self._bytecodes.found.items()])}
        if x is not None:
            return x[:1] + 1
        return {"count": np.array([len(many)])}
