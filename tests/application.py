"""A program that uses isopod in a process of its own, and how to see that what it started is gone."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

from waits import GUARD

MODELS = Path(__file__).resolve().parent / "models"

HEADER = f"""
import os, signal, sys, threading, time, gc
import numpy as np
import isopod
MODELS = {str(MODELS)!r}
def tell(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # at once: forked copies tell things, too
def load(**options):
    return isopod.load(MODELS + "/basic.py:Swiss", **options)
"""


class Application:
    """A program that uses isopod, in a process of its own."""

    def __init__(self, program: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HEADER + program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        """The next line of its output, and nothing that comes after it: that is for ``end``."""
        assert self.process.stdout is not None
        data = b""
        while not data.endswith(b"\n") and (piece := os.read(self.process.stdout.fileno(), 1)):
            data += piece
        assert data, f"it has ended: {self.end()}"
        return data.decode().strip()

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=GUARD)
        return self.process.returncode, out, err


def gone(pid: int) -> None:
    """Until a process is dead: it follows its parent by itself."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    dead, _, _ = select.select([descriptor], [], [], GUARD)
    os.close(descriptor)
    assert dead, f"process {pid} is still there"
