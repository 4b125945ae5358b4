"""The model whose calls are counted: a vector's first element comes back, and a row whole.

From ``do="begin"`` on each call marks, or counts, what the worker has done since the call before: all of its loop.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

import numpy as np


class Subject:
    def __init__(self) -> None:
        marks = os.environ.get("ISOPOD_BENCH_MARKS")
        self._marks = None if marks is None else ctypes.CDLL(marks)
        self._begun = False
        self._count = 0
        self._counts: list[int] = []

    def __call__(self, x: Any = None, do: str = "") -> Any:
        if do == "begin":
            self._begin()
        if do == "tell":
            sys.settrace(None)
        if do:
            return {"counts": np.array(self._counts)}
        if self._begun and self._marks is not None:
            self._marks.mark()
        elif self._begun:
            self._counts.append(self._count)
            self._count = 0
        return x + 1 if x.ndim == 2 else x[:1] + 1

    def _begin(self) -> None:
        self._begun = True
        if self._marks is not None:
            self._marks.start()
            return
        sys.settrace(self._trace)
        frame: Any = sys._getframe()
        while frame is not None:  # the loop that called us is there already, and is counted, too
            self._trace(frame, "call", None)
            frame.f_trace = self._trace
            frame = frame.f_back
        sys.settrace(self._trace)  # Python 3.12 looks only now at which of them are to tell of opcodes

    def _trace(self, frame: Any, event: str, _: object) -> Any:
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        self._count += event == "opcode"
        return self._trace
