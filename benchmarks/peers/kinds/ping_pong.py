"""The floor under every call: two processes of ``ping_pong.c``, compiled here, that wake each other and do no more.

``mode`` is "futex", where each sleeps until it is woken, or "line", where both look at one cache line all the time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from benchmarks.peers import contract
from benchmarks.peers.contract import Array, Unavailable

_SOURCE = Path(__file__).with_name("ping_pong.c")
_SAMPLE = 8  # bytes


class Peer(contract.Peer):
    def __init__(self, mode: str) -> None:
        self._mode = mode

    def start(self) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            raise Unavailable("it is compiled as it starts, and there is no C compiler (cc, gcc, clang)")
        if self._mode == "line" and len(os.sched_getaffinity(0)) < 2:
            raise Unavailable("it takes two cores, and there is one")
        program = contract.own_folder() / "ping_pong"
        subprocess.run([compiler, "-O2", "-o", str(program), str(_SOURCE)], check=True)
        self._process = subprocess.Popen([program, self._mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def call(self, function: str, array: Array) -> Array:
        self.timed(lambda: None, 1, 0.0)

    def prepare(self, function: str, array: Array) -> Callable[[], Array]:
        return lambda: None  # there is nothing to prepare: ``timed`` has C make the calls

    def timed(self, call: Callable[[], object], count: int, pause: float) -> list[int]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{count} {round(pause * 1e6)}\n".encode())
        stdin.flush()
        data = memoryview(stdout.read(count * _SAMPLE))
        return data.cast("q").tolist()

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()
