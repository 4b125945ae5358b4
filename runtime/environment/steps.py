"""The steps of a build: each one program, its words in the build's log, and the story if it fails.

Every program is run by absolute path and in an environment of its own making. What it prints is redacted before it is
kept, told or raised.
"""

from __future__ import annotations

import os
import shlex
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from isopod.ipc.errors import EnvironmentBuildError

from .plan import Plan
from .process import run
from .requirements import OURS
from .urls import redact

_SHOWN_LINES = 40


class Steps:
    """Runs the programs of one build, in one staging folder."""

    def __init__(
        self,
        plan: Plan,
        staging: Path,
        *,
        lock: int,
        log: TextIO,
        line: Callable[[str], bool],
        remedies: Callable[[Plan, str], list[str]],
    ) -> None:
        """``line`` is told each line that a program prints, and says whether it was meant for it alone.

        ``remedies`` are the installer's: what to do about what it said.
        """
        self._plan = plan
        self._staging = staging
        self._lock = lock
        self._log = log
        self._line = line
        self._remedies = remedies

    def run(
        self,
        what: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        seconds: float | None,
        *,
        must_succeed: bool = True,
    ) -> None:
        """Run one program. Raises ``EnvironmentBuildError`` with its last lines if it fails or takes too long."""
        tail: deque[str] = deque(maxlen=_SHOWN_LINES)

        def line(text: str) -> None:
            shown = self._shown(text)
            if self._line(shown):
                return
            tail.append(shown)
            self._log.write(f"{shown}\n")

        self._log.write(f"$ {self._gist(command)}\n")
        try:
            ended = run(command, environment=environment, lock=self._lock, line=line, seconds=seconds)
        except OSError as error:
            raise EnvironmentBuildError(f"{what} failed: {command[0]} cannot be run: {error}") from error
        if ended.timed_out:
            tail.append(f"it took longer than {seconds:.0f} s and was ended")
        if must_succeed and (ended.code != 0 or ended.timed_out):
            raise EnvironmentBuildError(self._failure(what, command, ended.code, tail))

    def _failure(self, what: str, command: Sequence[str], code: int, tail: Sequence[str]) -> str:
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        lines = [f"{what} failed ({how}) on {self._plan.interpreter}", *(f"  {text}" for text in self._plan.wish)]
        if self._plan.wanted.added:
            lines.append(f"  of these, {OURS!r} was added by isopod: the worker needs it in every environment")
        lines.append(f"  command: {self._gist(command)}")
        sources = [item for item in self._plan.sources.identity if item != "no-index=False"]
        lines += [f"  packages from: {item}" for item in sources]
        lines += [f"  {text}" for text in (*self._plan.sources.notes, *tail)]
        lines += [f"  {text}" for text in self._remedies(self._plan, "\n".join(tail))]
        return "\n".join(lines)

    def _gist(self, command: Sequence[str]) -> str:
        """A command fit to be read: program by name, no program text, no folder that is soon renamed or gone."""
        shown = [os.path.basename(command[0]), *command[1:]]
        if "-c" in shown:
            shown = [*shown[: shown.index("-c")], "-c", "…"]
        return shlex.join(self._shown(word) for word in shown)

    def _shown(self, text: str) -> str:
        shown = redact(text)
        for staging in (self._staging, os.path.realpath(self._staging)):
            shown = shown.replace(f"{staging}/", "")
        return shown
