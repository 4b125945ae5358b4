"""The process in which a peer is used: it stands for the application, in the peer's own environment.

``python -m benchmarks.peers.driver FD KIND OPTIONS`` takes commands as lines of JSON through a socket, and answers each
with one. It ends when the other end of the socket does, after it has stopped its peer.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import json
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from benchmarks.measure import turn, uncounted
from benchmarks.peers.contract import Peer, make

_WARM_CALLS = 3  # calls before the one that is held, so that nothing is new to the worker


class Driver:
    """A peer, and the call that it is about to make."""

    def __init__(self, kind: str, options: dict[str, Any]) -> None:
        self._kind, self._options = kind, options
        self._peer: Peer | None = None
        self._call: Callable[[], object] = lambda: None

    @property
    def peer(self) -> Peer:
        assert self._peer is not None, "start comes first"
        return self._peer

    def start(self, shows: str | None = None) -> dict[str, Any]:
        """Import the peer, start it, and have one answer of it: seconds. And the version of the package ``shows``."""
        began = time.perf_counter()
        self._peer = make(self._kind, self._options)
        self._peer.start()
        array = np.zeros(256, np.float32)
        _check(self._peer.call("first", array), array[:1] + 1)
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "version": "" if shows is None else f"{shows} {importlib.metadata.version(shows)}"}

    def prepare(self, function: str, nbytes: int) -> dict[str, Any]:
        """Make a call ready, and see that its answer is right."""
        array = np.arange(nbytes // 4, dtype=np.float32)
        self._call = self.peer.prepare(function, array)
        _check(self._call(), array[:1] + 1 if function == "first" else array + 1)
        return {}

    def warm(self, seconds: float, pause: float) -> dict[str, Any]:
        """Make the call for a while: how many of them are one turn."""
        gc.collect()
        return {"count": turn(lambda count: self.peer.timed(self._call, count, 0.0), seconds, pause)}

    def turn(self, count: int, pause: float) -> dict[str, Any]:
        """A turn: nanoseconds of each call, without the first ones."""
        self.peer.timed(self._call, uncounted(count), pause)
        return {"samples": self.peer.timed(self._call, count, pause)}

    def hold(self) -> dict[str, Any]:
        """Make a call that somebody kills the worker of. How it ends, and when (of the monotonic clock)."""
        array = np.zeros(256, np.float32)
        for _ in range(_WARM_CALLS):
            self.peer.call("first", array)
        outcome = self._outcome("hold")
        return {"outcome": outcome, "at": time.perf_counter_ns()}

    def again(self) -> dict[str, Any]:
        """The next call."""
        return {"outcome": self._outcome("first")}

    def stop(self) -> dict[str, Any]:
        if self._peer is not None:
            peer, self._peer = self._peer, None
            peer.stop()
        return {}

    def _outcome(self, function: str) -> str:
        try:
            self.peer.call(function, np.zeros(256, np.float32))
        except BaseException as error:  # becomes a word in the table
            return type(error).__name__
        return "answered"


def _check(answer: Any, expected: Any) -> None:
    """A yardstick that carries nothing answers None."""
    if answer is not None and not np.array_equal(answer, expected):
        raise AssertionError("a wrong answer")


def _serve(connection: Any, driver: Driver) -> None:
    with contextlib.suppress(EOFError, ConnectionError):  # the conductor is gone
        while True:
            command = json.loads(connection.recv_bytes())
            try:
                answer = getattr(driver, command.pop("do"))(**command)
            except Exception as error:  # goes to the conductor, in whose table it is the reason
                traceback.print_exc()
                text = (str(error).strip().splitlines() or [""])[0]
                answer = {"error": type(error).__name__ + (f": {text}" if text else "")}
            connection.send_bytes(json.dumps(answer).encode())


def _main() -> None:
    driver = Driver(sys.argv[2], json.loads(sys.argv[3]))
    _serve(Connection(int(sys.argv[1])), driver)
    driver.stop()


if __name__ == "__main__":
    _main()
