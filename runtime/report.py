"""What is known about the death of a worker, as data and as the text of the exception."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

from isopod.runtime.lifecycle import READY
from isopod.runtime.process import folder_of

# What usually lies behind a signal, for somebody who has just met it.
_SIGNALS = {
    "SIGKILL": "the kernel's out-of-memory killer, or somebody's kill -9",
    "SIGSEGV": "a memory error in native code, or a stack overflow",
    "SIGABRT": "native code gave up (a failed assertion, or a C++ exception that nobody caught)",
    "SIGBUS": "memory that is mapped but not there (a truncated file, or a full disk)",
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


@dataclass(frozen=True)
class CrashReport:
    """The facts. ``status`` is as from ``subprocess``: an exit code, or minus a signal; None where it was lost.

    ``phase`` is the worker's state when it died, ``call_seconds`` how long the call in flight had been running (None:
    there was none), ``peak_rss`` is in bytes.
    """

    model: str
    pid: int
    status: int | None
    phase: str
    reason: str  # why we ended it; empty if we did not
    uptime: float
    calls: int
    waiting_calls: int
    call_seconds: float | None
    stderr: tuple[str, ...]
    stdout: tuple[str, ...]
    stacks: str
    peak_rss: int

    @property
    def cause(self) -> str:
        """What ended the process, by name, with its likely reason."""
        if self.reason and self.status in (None, -signal.SIGKILL):
            return self.reason
        if self.status is None:
            return "ended, but its exit status was taken by somebody else in this process"
        if self.status < 0:
            name = _signal_name(-self.status)
            return f"killed by {name}" + (f" ({_SIGNALS[name]})" if name in _SIGNALS else "")
        return f"exited with code {self.status}" + (
            f" ({_EXIT_CODES[self.status]})" if self.status in _EXIT_CODES else " (os._exit, or exit in native code)"
        )

    def __str__(self) -> str:
        lines = [f"the worker of model {self.model!r} (pid {self.pid}) died while {self.doing}: {self.cause}"]
        facts = f"up {self.uptime:.1f} s, {self.calls} calls answered, {self.waiting_calls} in flight"
        if self.peak_rss:
            facts += f", peak memory {self.peak_rss / (1 << 20):.0f} MiB"
        lines.append("  " + facts)
        for name, tail in (("stderr", self.stderr), ("stdout", self.stdout)):
            if tail:
                lines.append(f"  last lines of {name}:")
                lines.extend("    " + line for line in tail[-10:])
        if self.stacks:
            lines.append("  Python stacks at the end:")
            lines.extend("    " + line for line in self.stacks.splitlines())
        if self.phase == READY:
            lines.append("  A new worker takes its place.")
        return "\n".join(lines)

    @property
    def doing(self) -> str:
        """What it was at when it died."""
        if self.phase == "starting":
            return "starting"
        if self.phase == "loading":
            return "loading the model"
        if self.call_seconds is not None:
            return f"running a call ({self.call_seconds:.3f} s into it)"
        return "idle" if self.phase == "ready" else self.phase


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
