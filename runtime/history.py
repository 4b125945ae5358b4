"""What a model remembers of its workers' deaths: the latest in short, and each in a folder where that is asked for.

Outlives each worker, and is shared by all of a model's. Crashes are noted on the monitor thread, which must not wait
for a disk: files are written by the scribe, once the callers have been told.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from isopod.runtime import crashfiles
from isopod.runtime.environment import Prepared
from isopod.runtime.report import CrashReport, Death
from isopod.runtime.scribe import Scribe

VARIABLE = "ISOPOD_CRASH_REPORTS"
_REMEMBERED = 5
_logger = logging.getLogger("isopod")


@dataclass(frozen=True)
class Origin:
    """Where a model's workers run: ``environment`` is its key in the cache, or else its path."""

    python: str
    interpreter: str
    environment: str

    @classmethod
    def of(cls, prepared: Prepared) -> Origin:
        version = ".".join(map(str, prepared.version))
        return cls(version, str(prepared.python), prepared.key or str(prepared.prefix))


class History:
    """The deaths of one model's workers. ``folder`` is where each is written to, if anywhere."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._deaths: deque[Death] = deque(maxlen=_REMEMBERED)

    @property
    def deaths(self) -> tuple[Death, ...]:
        """The latest last."""
        return tuple(self._deaths)

    def note(self, report: CrashReport, scribe: Scribe) -> None:
        """A worker crashed. Never waits."""
        self._deaths.append(Death(report.time, report.ended, report.uptime, report.calls))
        folder = self._folder
        if folder is not None:
            scribe.run(lambda: _write(folder, report))


def folder_for(given: str | os.PathLike[str] | None) -> Path | None:
    """Where crash reports are asked to go: by the caller, or else by the environment variable."""
    path = given if given is not None else os.environ.get(VARIABLE)
    return Path(os.path.abspath(os.path.expanduser(path))) if path else None


def _write(folder: Path, report: CrashReport) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = report.save(folder)
        crashfiles.prune(folder)
    except Exception as error:  # goes to the log: a full disk is nothing that a caller could be told of any more
        _logger.warning("the crash report of model %r could not be written to %s: %s", report.model, folder, error)
    else:
        _logger.info("the crash report of model %r is in %s", report.model, path)
