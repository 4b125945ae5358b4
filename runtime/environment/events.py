"""What a build tells while it runs: one frozen value a step, made from the lines that uv writes.

Pure: lines in, events out, no process. uv announces each larger download when it starts and when it ends, so the
number of those that ended can move a bar.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Stage = Literal["resolve", "download", "install", "warm", "wait", "done"]

_RESOLVED = re.compile(r"Resolved (\d+) packages?\b")
_DOWNLOADING = re.compile(r"Downloading (.+?)(?: \((.+)\))?")
_DOWNLOADED = re.compile(r"(?:Downloaded|Built) (.+)")
_PREPARED = re.compile(r"Prepared (\d+) packages?\b")
_INSTALLED = re.compile(r"Installed (\d+) packages?\b")


@dataclass(frozen=True)
class BuildEvent:
    """One step of ``prepare``.

    ``done`` of ``total`` parts of this stage are finished; None where that is not known. ``total`` may grow while
    downloads are still being announced. ``seconds`` have passed since ``prepare`` was called.
    """

    stage: Stage
    message: str
    done: int | None = None
    total: int | None = None
    seconds: float = 0.0


class Reporter:
    """Turns the steps of one build into events for one listener. Used by one thread."""

    def __init__(self, listener: Callable[[BuildEvent], None] | None) -> None:
        self._listener = listener
        self._start = time.monotonic()
        self._announced: list[str] = []
        self._fetched = 0

    def tell(self, stage: Stage, message: str, done: int | None = None, total: int | None = None) -> None:
        """Send one event. An exception of the listener ends the build: that is how a user stops it."""
        if self._listener is not None:
            self._listener(BuildEvent(stage, message, done, total, time.monotonic() - self._start))

    def read(self, line: str) -> None:
        """Send the event, if any, that a line of uv's means."""
        text = line.strip()
        if match := _RESOLVED.match(text):
            self.tell("resolve", text, int(match[1]), int(match[1]))
        elif match := _DOWNLOADING.fullmatch(text):
            self._announced.append(match[1])
            self.tell("download", text, self._fetched, len(self._announced))
        elif match := _DOWNLOADED.fullmatch(text):
            self._fetched += 1
            self.tell("download", text, self._fetched, max(self._fetched, len(self._announced)))
        elif match := _PREPARED.match(text):
            total = max(self._fetched, len(self._announced)) or None  # small packages are fetched unannounced
            self.tell("download", text, total, total)
        elif match := _INSTALLED.match(text):
            self.tell("install", text, int(match[1]), int(match[1]))
