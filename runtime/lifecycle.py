"""The states of a worker, and which may follow which: one table, read by everything that asks.

::

    starting ──greeted──▶ loading ──loaded──▶ ready ──drain──▶ draining ──exited──▶ stopped
        └───────exited───────┴───────exited──────┴──▶ crashed

An event that the table does not allow raises ``InternalError`` and changes nothing. Nothing else records a state: what
``model.health`` says is read from here when it is asked. ``docs/lifecycle.md`` is drawn from this table.
"""

from __future__ import annotations

import threading
import time

from isopod.ipc.errors import InternalError

STARTING, LOADING, READY, DRAINING, STOPPED, CRASHED = "starting", "loading", "ready", "draining", "stopped", "crashed"
BACKING_OFF, BROKEN, SHUT = "backing off", "broken", "closed"  # of a model that has no worker

Table = dict[tuple[str, str], str]  # (state, event) → the state that follows

TRANSITIONS: Table = {
    (STARTING, "greeted"): LOADING,
    (LOADING, "loaded"): READY,
    (STARTING, "drain"): DRAINING,
    (LOADING, "drain"): DRAINING,
    (READY, "drain"): DRAINING,
    (STARTING, "exited"): CRASHED,
    (LOADING, "exited"): CRASHED,
    (READY, "exited"): CRASHED,
    (DRAINING, "exited"): STOPPED,
    (DRAINING, "greeted"): DRAINING,  # both are on their way when a load is given up
    (DRAINING, "loaded"): DRAINING,
    (DRAINING, "drain"): DRAINING,
}

ENDED = frozenset((STOPPED, CRASHED))


class Machine:
    """A state and the table that it moves by. Safe for many threads."""

    def __init__(self, table: Table, start: str, what: str) -> None:
        self.state = start
        self._table = table
        self._what = what
        self._lock = threading.Lock()

    def advance(self, event: str) -> str:
        """Move on, and return the new state. Raises ``InternalError`` for an event that cannot happen now."""
        with self._lock:
            state = self._table.get((self.state, event))
            if state is None:
                raise InternalError(f"{self._what} that is {self.state} cannot have {event!r} happen to it")
            self.state = state
            return state


class Lifecycle(Machine):
    """Where one worker process stands."""

    def __init__(self) -> None:
        super().__init__(TRANSITIONS, STARTING, "a worker")
        self.began = time.monotonic()

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def uptime(self) -> float:
        """Seconds since the worker was started."""
        return time.monotonic() - self.began
