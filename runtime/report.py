"""What is known about the death of a worker, as data and as the text of the exception."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from isopod.runtime import crashfiles
from isopod.runtime.lifecycle import READY
from isopod.runtime.process import folder_of

SCHEMA = 1  # of ``to_dict``: raised when a key goes away or changes its meaning, not when one is added

# What usually lies behind a signal, for somebody who has just met it.
_SIGNALS = {
    "SIGKILL": "the kernel's out-of-memory killer, or somebody's kill -9",
    "SIGSEGV": "a memory error in native code, or a stack overflow",
    "SIGABRT": "native code gave up: a failed assertion, or a C++ exception that nobody caught",
    "SIGBUS": "memory that is mapped but not there: a truncated file, or a full disk",
    "SIGFPE": "an integer division by zero in native code",
    "SIGILL": "native code built for another processor",
    "SIGTERM": "somebody asked it to end",
    "SIGSYS": "a system call that is not allowed",
}
_EXIT_CODES = {
    0: "it ended by itself, without being asked to",
    1: "an unhandled error in the worker or in a library",
    120: "the model could not be loaded",
    121: "the worker itself failed; see stderr",
    127: "the interpreter could not be started",
}
_SHOWN_LINES, _SHOWN_FRAMES, _SHOWN_INPUTS, _SHOWN_WIDTH = 10, 60, 8, 400
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class RunningCall:
    """The call that a worker had when it died: its number, how long it had run, and its inputs in words.

    An array is ``"image float32 (1, 224, 224, 3)"``, a value that is not one is its name alone.
    """

    id: int
    seconds: float
    inputs: tuple[str, ...] = ()

    def __str__(self) -> str:
        shown = list(self.inputs[:_SHOWN_INPUTS])
        if len(self.inputs) > _SHOWN_INPUTS:
            shown.append(f"and {len(self.inputs) - _SHOWN_INPUTS} more")
        return f"call {self.id}: " + (", ".join(shown) or "without inputs")


@dataclass(frozen=True)
class Death:
    """One earlier death of the same model's worker. ``time`` is UTC, ISO 8601; ``uptime`` in seconds."""

    time: str
    ended: str
    uptime: float
    calls: int


@dataclass(frozen=True)
class CrashReport:
    """The facts. ``status`` is as from ``subprocess``: an exit code, or minus a signal; None where it was lost.

    ``phase`` is the worker's state when it died, ``call`` what it ran then (None: nothing), ``waiting_calls`` how many
    others were in line. ``time`` is UTC, ISO 8601; ``uptime`` in seconds; ``peak_rss`` in bytes, 0 where it is not
    known: the kernel counts the application's own memory in, and so tells only of a worker that took more than that.
    ``oom`` says what speaks for a want of memory, and ``oom_killed`` whether that is evidence that the kernel's
    out-of-memory killer did it. ``python`` is the worker's version, ``interpreter`` what was run, ``environment`` the
    key in the cache, or the path, of where its packages are from. ``application`` is our own pid. ::

        except isopod.WorkerCrashed as error:
            print(error.report.cause)
            error.report.save("crashes/")
    """

    model: str
    pid: int
    status: int | None
    phase: str
    reason: str  # why we ended it; empty if we did not
    uptime: float
    calls: int
    waiting_calls: int
    call: RunningCall | None
    stderr: tuple[str, ...]
    stdout: tuple[str, ...]
    stacks: str
    peak_rss: int
    oom: str = ""
    oom_killed: bool = False
    earlier: tuple[Death, ...] = ()  # the latest last
    replica: int = 0
    python: str = ""
    interpreter: str = ""
    environment: str = ""
    time: str = ""
    application: int = 0

    @property
    def ended(self) -> str:
        """What ended the process, by name."""
        if self.reason and self.status in (None, -signal.SIGKILL):
            return self.reason
        if self.status is None:
            return "ended, but its exit status was taken by somebody else in this process"
        if self.oom_killed:
            return "killed by the kernel's out-of-memory killer"
        return f"killed by {_signal_name(-self.status)}" if self.status < 0 else f"exited with code {self.status}"

    @property
    def cause(self) -> str:
        """What ended the process, by name, with its likely reason."""
        ended = self.ended
        if self.status is None or ended == self.reason or self.oom_killed:
            return ended
        if self.status < 0:
            likely = _SIGNALS.get(_signal_name(-self.status), "")
        else:
            likely = _EXIT_CODES.get(self.status, "os._exit, or exit in native code")
        return f"{ended} ({likely})" if likely else ended

    @property
    def call_seconds(self) -> float | None:
        """How long the call in flight had been running; None where there was none."""
        return None if self.call is None else self.call.seconds

    @property
    def doing(self) -> str:
        """What it was at when it died."""
        if self.phase == "starting":
            return "starting"
        if self.phase == "loading":
            return "loading the model"
        if self.call is not None:
            return f"running a call ({self.call.seconds:.3f} s into it)"
        return "idle" if self.phase == "ready" else self.phase

    def __str__(self) -> str:
        who = f"model {self.model!r} (" + (f"replica {self.replica}, " if self.replica else "") + f"pid {self.pid})"
        lines = [f"the worker of {who} died while {self.doing}: {self.cause}"]
        if self.call is not None:
            others = f"; {_count(self.waiting_calls, 'other')} waited in line" if self.waiting_calls else ""
            lines.append(f"  {self.call}{others}")
        peak = f", peak memory {self.peak_rss / (1 << 20):.0f} MiB" if self.peak_rss else ""
        lines.append(f"  up {_duration(self.uptime)}, {_count(self.calls, 'call')} answered{peak}")
        if self.oom:
            lines.append(f"  memory: {_clean(self.oom)}")
        lines += _section("Python stacks at the end", _shown_stacks(self.stacks))
        for name, tail in (("stderr", self.stderr), ("stdout", self.stdout)):
            lines += _section(f"last lines of {name}", [line for line in tail if line.strip()][-_SHOWN_LINES:])
        lines += _section("it died before", [self._told(death) for death in reversed(self.earlier)])
        if self.python:
            lines.append(f"  Python {self.python}, environment {self.environment or self.interpreter}")
        if self.phase == READY:
            lines.append("  A new worker takes its place.")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """All fields by their names, with ``schema``, ``ended``, ``cause`` and ``doing``, as plain values for JSON."""
        derived = {"schema": SCHEMA, "ended": self.ended, "cause": self.cause, "doing": self.doing}
        return {**derived, **{name: _plain(value) for name, value in dataclasses.asdict(self).items()}}

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it to ``path`` as JSON, with its text under ``text``; returns where it is.

        A folder that exists gets a file whose name has the time, the model and the pid. Whole or not at all, readable
        by you alone. Raises ``OSError``. ::

            path = error.report.save("crashes/")     # and then: isopod report PATH
        """
        return crashfiles.write(Path(path), {**self.to_dict(), "text": str(self)})

    def _told(self, death: Death) -> str:
        ago = ""
        if self.time and death.time:
            seconds = (datetime.fromisoformat(self.time) - datetime.fromisoformat(death.time)).total_seconds()
            ago = f"{_duration(max(0.0, seconds))} earlier: "
        return f"{ago}{death.ended} after {_duration(death.uptime)} and {_count(death.calls, 'call')}"


def tidy_stacks(text: str) -> str:
    """Python stacks without what is ours: threads of ours, and the frames below a model's first."""
    ours = tuple(f'  File "{folder}{os.sep}' for folder in (folder_of("ipc"), folder_of("opeworker")))
    stanzas = []
    for stanza in text.split("\n\n"):
        lines = stanza.splitlines()
        frames = [line for line in lines if line.startswith("  File ")]
        if frames and frames[0].startswith(ours):
            listening, catching_up = "in receive_with_descriptors" in frames[0], "in _catch_up" in frames[-1]
            if listening or catching_up:
                continue
        while len(frames) > 1 and len(lines) > 1 and lines[-1].startswith(ours):
            lines.pop()
        stanzas.append("\n".join(lines))
    return "\n\n".join(stanzas)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _shown_stacks(text: str) -> list[str]:
    """The thread that died first, then the others, for as long as a person reads; the report has all of it."""
    stanzas = [stanza.splitlines() for stanza in text.split("\n\n") if "hread 0x" in stanza]
    stanzas.sort(key=lambda stanza: not any(line.startswith("Current thread") for line in stanza))
    lines = [line for stanza in stanzas for line in stanza] if stanzas else text.splitlines()
    left = len(lines) - _SHOWN_FRAMES
    return lines if left <= 0 else [*lines[:_SHOWN_FRAMES], f"... {_count(left, 'line')} more in the report's stacks"]


def _section(title: str, lines: Iterable[str]) -> list[str]:
    shown = [("    " + _clean(line)).rstrip() for line in lines]
    return [f"  {title}:", *shown] if shown else []


def _clean(line: str) -> str:
    """A line of somebody else's as it can be shown: no colours, nothing that steers a terminal, no endless width."""
    line = _COLOURS.sub("", line).expandtabs(4)
    line = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in line)
    return line if len(line) <= _SHOWN_WIDTH else line[:_SHOWN_WIDTH] + " ..."


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value
