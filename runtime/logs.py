"""A worker's output: lines into ``logging`` as they come, and the last of them for a crash report.

The pipes are always drained, so a model can print as much as it likes and never blocks on a full pipe. Handlers of
``logging`` are user's code and may be slow, so they run on a thread of their own; what they cannot keep up with is
dropped, and counted.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable

_MAX_LINE = 16_384  # bytes; a longer line is cut into pieces
_TAIL = 40
_BACKLOG = 10_000  # lines that wait for a slow handler


class Scribe:
    """The thread that hands lines to ``logging``."""

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[tuple[logging.Logger, int, str] | Callable[[], None] | None] = (
            queue.SimpleQueue()
        )
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="isopod-scribe", daemon=True)
        self._thread.start()

    def write(self, logger: logging.Logger, level: int, line: str) -> None:
        """Never waits."""
        if self._lines.qsize() >= _BACKLOG:
            self._dropped += 1
            return
        if self._dropped:
            self._lines.put((logger, logging.WARNING, f"... {self._dropped} lines were dropped"))
            self._dropped = 0
        self._lines.put((logger, level, line))

    def run(self, task: Callable[[], None]) -> None:
        """Have something done here that may take its time, such as writing to a disk. Never waits, must not raise."""
        self._lines.put(task)

    def stop(self) -> None:
        """Hand over what is there, and end."""
        self._lines.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (item := self._lines.get()) is not None:
            if callable(item):
                item()
                continue
            logger, level, line = item
            logger.log(level, "%s", line)


class LineLog:
    """One stream of one worker. ``feed`` it what was read; ``finish`` at its end."""

    def __init__(self, model: str, stream: str, scribe: Scribe) -> None:
        self._scribe = scribe
        self._logger = logging.getLogger(f"isopod.worker.{model}")
        self._level = logging.WARNING if stream == "stderr" else logging.INFO
        self._rest = b""
        self.tail: deque[str] = deque(maxlen=_TAIL)

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._emit(line)
        while len(self._rest) > _MAX_LINE:
            self._emit(self._rest[:_MAX_LINE])
            self._rest = self._rest[_MAX_LINE:]

    def finish(self) -> None:
        if self._rest:
            self._emit(self._rest)
            self._rest = b""

    def _emit(self, line: bytes) -> None:
        # A progress bar rewrites its line with carriage returns: what counts is what a person would see at the end.
        text = line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "backslashreplace")
        self.tail.append(text)
        self._scribe.write(self._logger, self._level, text)


class FaultLog:
    """What ``faulthandler`` wrote: the Python stacks at a fatal signal, or when they were asked for."""

    _LIMIT = 65_536

    def __init__(self) -> None:
        self.told = threading.Event()  # set by whatever comes
        self._data = b""

    def feed(self, data: bytes) -> None:
        self._data = (self._data + data)[: self._LIMIT]
        self.told.set()

    @property
    def text(self) -> str:
        return self._data.decode("utf-8", "backslashreplace").strip()
