"""Ctrl-C at a chosen line of ours: what a signal's handler does between any two bytecodes of the main thread."""

from __future__ import annotations

import itertools
import linecache
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import FrameType
from typing import Any

from isopod.runtime.process import folder_of

OURS = tuple(str(folder_of(room)) for room in ("runtime", "ipc"))


class Interrupt:
    """Raises ``KeyboardInterrupt`` at the nth line of ours, or of the functions ``only``, once; ``hit`` says where."""

    def __init__(self, number: int, only: Sequence[str] = ()) -> None:
        self.left = number
        self.only = only
        self.hit = ""

    def __enter__(self) -> Interrupt:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(OURS) or in_a_callback(frame):
            return None
        # The line of a ``with`` comes up again at its end, where Python lets no handler run: its lock is still held.
        # Nor does it where a ``try`` begins, which is no instruction, and may lie outside of the block around it.
        source = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        named = not self.only or frame.f_code.co_name in self.only
        if event == "line" and named and not source.lstrip().startswith(("with ", "try:")):
            self.left -= 1
            if self.left == 0:
                self.hit = f"{frame.f_code.co_name}:{frame.f_lineno}"
                raise KeyboardInterrupt
        return self._trace


def in_a_callback(frame: FrameType | None) -> bool:
    """Whether it runs for a weak reference: there Python itself prints an exception, and goes on."""
    while frame is not None:
        if frame.f_code.co_name == "_ended":
            return True
        frame = frame.f_back
    return False


def cancel_at_any_line(submit: Callable[[int], Future[Any]], only: Sequence[str] = ()) -> None:
    """Strike ``cancel`` at each of its lines in turn: whoever cancels once more has the future cancelled."""
    for number in itertools.count(1):
        future = submit(number)
        interrupt = Interrupt(number, only)
        try:
            with interrupt:
                future.cancel()
        except KeyboardInterrupt:
            assert interrupt.hit
        assert future.cancel(), f"after an interrupt at {interrupt.hit}"
        assert future.cancelled()
        if not interrupt.hit:
            assert number > 10
            return
