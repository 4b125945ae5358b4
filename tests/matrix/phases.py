"""Phases of a worker's life, as data: who meets the way to end there, who can hear of it, and what makes no sense."""

from __future__ import annotations

from dataclasses import dataclass, field

from matrix.ways import SIGNALS, WAYS

# What stands for a worker when the way is met: the program that should become it, the kernel on the application's
# behalf, the worker's main thread, or another thread of it.
WRAPPER, OUTSIDE, MAIN, THREAD = "wrapper", "outside", "main", "thread"
START, LIVE, LEAVING, CLOSING = "start", "live", "leaving", "closing"  # which test has the rows


@dataclass(frozen=True)
class Phase:
    """``without`` are ways that cannot be met there, each with the reason. ``doing`` is in the report, as a pattern."""

    name: str
    kind: str
    runs_in: str
    doing: str = ""
    without: dict[str, str] = field(default_factory=dict)


_ONLY_SIGNALS = dict.fromkeys(WAYS.keys() - SIGNALS.keys(), "nothing of ours runs there: only a signal can come")
del _ONLY_SIGNALS["sigstop"]
_UNREAD = {"garbage_in_ring": "nobody reads the ring before the first call: that is the phase idle"}
_HELD_BY_NOBODY = {"garbage_in_ring": "nobody waits for an answer any more"}

PHASES = {
    phase.name: phase
    for phase in (
        Phase("exec", START, WRAPPER, "starting", _UNREAD),
        Phase("spawned", START, OUTSIDE, "starting", _ONLY_SIGNALS),
        Phase("greeted", START, OUTSIDE, "(starting|loading the model)", _ONLY_SIGNALS),
        Phase("import", START, MAIN, "loading the model", _UNREAD),
        Phase("load", START, MAIN, "loading the model", _UNREAD),
        Phase("idle", LIVE, THREAD, "idle"),
        Phase("copying", LIVE, THREAD, "(idle|running a call)"),
        Phase("call", LIVE, MAIN, "running a call"),
        Phase("outputs", LIVE, MAIN, "running a call"),
        Phase("drain", LEAVING, MAIN),
        Phase("replaced", LEAVING, MAIN),
        Phase("close", CLOSING, MAIN, "", _HELD_BY_NOBODY),
    )
}
