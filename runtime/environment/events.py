"""What a build tells while it runs: one frozen value a step, made from the lines that uv and pip write.

Pure: lines in, events out, no process. uv announces each larger download with its size when it starts, and names it
when it has ended; pip (24.1 and later) counts the bytes of the one that it is at.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Stage = Literal["python", "resolve", "download", "install", "warm", "wait", "done"]

_RESOLVED = re.compile(r"Resolved (\d+) packages?\b")
# "Downloading torch (191.0MiB)", "Downloading torch-2.1-cp311-….whl (199.7 MB)"
_DOWNLOADING = re.compile(r"Downloading (\S+?)(?: \(([\d.]+) ?([KMGTkB]i?B?|bytes)\))?")
_DOWNLOADED = re.compile(r"(?:Downloaded|Built) (\S+)")
_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
_PREPARED = re.compile(r"Prepared (\d+) packages?\b")
_INSTALLED = re.compile(r"Installed (\d+) packages?\b")
_COLLECTING = re.compile(r"Collecting (\S+)")
_INSTALLING = re.compile(r"Installing collected packages: (.+)")
_SUCCESS = re.compile(r"Successfully installed (.+)")
_UNITS = {"b": 1, "bytes": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}


@dataclass(frozen=True)
class BuildEvent:
    """One step of ``prepare``.

    ``done`` of ``total`` parts of this stage are finished; None where that is not known. While packages are downloaded,
    ``bytes_done`` of ``bytes_total`` are there, of the packages whose size was told. ``total`` and ``bytes_total`` may
    grow while downloads are still being announced. ``seconds`` have passed since ``prepare`` was called.
    """

    stage: Stage
    message: str
    done: int | None = None
    total: int | None = None
    seconds: float = 0.0
    bytes_done: int | None = None
    bytes_total: int | None = None


@dataclass
class _Download:
    size: int = 0
    fetched: int = 0
    ended: bool = False

    def end(self) -> None:
        self.fetched, self.ended = self.size, True


class Reporter:
    """Turns the steps of one build into events for one listener. Used by one thread."""

    def __init__(self, listener: Callable[[BuildEvent], None] | None) -> None:
        self._listener = listener
        self._start = time.monotonic()
        self._downloads: dict[str, _Download] = {}
        self._current: str | None = None  # of pip, which fetches one after the other

    def tell(self, stage: Stage, message: str, done: int | None = None, total: int | None = None) -> None:
        """Send one event. An exception of the listener ends the build: that is how a user stops it."""
        self._send(BuildEvent(stage, message, done, total, time.monotonic() - self._start))

    def read(self, line: str) -> bool:
        """Send the event, if any, that a line means. True for one that is nothing but progress."""
        text = line.strip()
        if match := _PROGRESS.fullmatch(text):
            self._progress(int(match[1]), int(match[2]))
            return True
        if match := _RESOLVED.match(text):
            self.tell("resolve", text, int(match[1]), int(match[1]))
            # local wheels are unpacked without a word of their own, and that may take long
            self.tell("download", "preparing what is not in uv's cache")
        elif match := _COLLECTING.match(text):
            self._fetched_current()
            if not self._downloads:  # pip fetches while it resolves: a bar would go to and fro
                self.tell("resolve", f"Collecting {match[1]}")
        elif match := _DOWNLOADING.fullmatch(text):
            self._begin(text, match)
        elif match := _DOWNLOADED.fullmatch(text):
            self._downloads.setdefault(match[1], _Download()).end()
            self._download(text)
        elif match := _PREPARED.match(text):
            self._all_fetched(text)  # small packages are fetched unannounced
        elif match := _INSTALLED.match(text):
            self.tell("install", text, int(match[1]), int(match[1]))
        elif match := _INSTALLING.fullmatch(text):
            self._all_fetched("Downloaded")
            self.tell("install", f"Installing {match[1].count(',') + 1} packages", 0, match[1].count(",") + 1)
        elif match := _SUCCESS.fullmatch(text):
            number = len(match[1].split())
            self.tell("install", f"Installed {number} packages", number, number)
        return False

    def _begin(self, text: str, match: re.Match[str]) -> None:
        name = match[1].rpartition("/")[2]
        if name.endswith(".metadata"):
            return
        self._fetched_current()
        size = round(float(match[2]) * _UNITS[match[3].lower()]) if match[2] else 0
        self._downloads[name] = _Download(size)
        self._current = name if name.endswith((".whl", ".gz", ".zip")) else None
        self._download(text)

    def _progress(self, fetched: int, size: int) -> None:
        one = self._downloads.get(self._current or "")
        if one is not None and size:
            one.size, one.fetched, one.ended = size, fetched, fetched >= size
            self._download(f"Downloading {self._current}")

    def _fetched_current(self) -> None:
        if self._current is not None:
            self._downloads[self._current].end()
            self._current = None

    def _all_fetched(self, text: str) -> None:
        for one in self._downloads.values():
            one.end()
        self._current = None
        if self._downloads:
            self._download(text)

    def _download(self, text: str) -> None:
        all_of_them = self._downloads.values()
        size = sum(one.size for one in all_of_them)
        self._send(
            BuildEvent(
                "download", text, sum(one.ended for one in all_of_them), len(all_of_them),
                time.monotonic() - self._start, sum(one.fetched for one in all_of_them) if size else None, size or None,
            )
        )  # fmt: skip

    def _send(self, event: BuildEvent) -> None:
        if self._listener is not None:
            self._listener(event)
