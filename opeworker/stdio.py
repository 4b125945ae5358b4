"""Standard streams of a worker: pipes to the parent since its birth, one line at a time.

File descriptors 1 and 2 are the parent's pipes from exec on, so nothing that a C library prints is lost. Python would
buffer a pipe by blocks, and a crash would swallow the last lines, which are the ones that explain it.
"""

from __future__ import annotations

import sys


def line_buffer() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]


def flush() -> None:
    """Before the process ends: whatever stands in for the streams by now, it may fail or be closed."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            stream.flush()  # type: ignore[union-attr]
        except Exception:  # goes nowhere: the model replaced the stream, and there is nobody left to tell
            continue
