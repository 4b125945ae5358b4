"""The ledger: every call that was begun, and the one thing that became of it.

A call is opened before it is sent and closed once: answered, failed or dropped. What must not be (a second end, a wrong
answer, an error that nobody asked for, a call without an end) becomes a line in ``violations``. Pausing is done here,
too: nobody can open a call while the ledger rests, so "nothing is open" then means that all is quiet. Safe for many
threads.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass

import isopod

_KEPT = 50  # violations that are told in words; the rest is counted


@dataclass(frozen=True)
class Opened:
    """A call in flight: how it was made, of which model, and when (``time.monotonic()``)."""

    kind: str
    model: str
    at: float


class Ledger:
    """Accounts for at most ``calls`` calls, begun in the next ``seconds`` seconds."""

    def __init__(self, calls: int, seconds: float | None = None) -> None:
        self.calls = calls
        self.ends_at = float("inf") if seconds is None else time.monotonic() + seconds
        self.issued = 0
        self.outcomes: Counter[tuple[str, str]] = Counter()  # (kind, outcome)
        self.violations: list[str] = []
        self.violated = 0
        self.killed: dict[int, float] = {}  # by pid: when
        self.detected: list[float] = []  # seconds from a kill to the exception of a call that waited
        self.recovered: list[float] = []  # seconds from a kill to the model's next answer
        self._recovering: dict[str, tuple[int, float]] = {}
        self._open: dict[int, Opened] = {}
        self._ended = bytearray(calls + 1)  # by number
        self._resting = False
        self._parked = 0  # callers in ``wait``
        self._changed = threading.Condition()

    # ------------------------------------------------------------------ calls

    def open(self, kind: str, model: str) -> int:
        """The number of a new call; 0 while the ledger rests, or when there are to be no more."""
        with self._changed:
            if self._resting or self.over:
                return 0
            self.issued += 1
            self._open[self.issued] = Opened(kind, model, time.monotonic())
            return self.issued

    def answered(self, number: int, problem: str = "", pid: int = 0) -> None:
        """It has an answer; ``problem`` says what is wrong with that, and is empty where nothing is."""
        with self._changed:
            opened = self._close(number, "wrong" if problem else "answered")
            if problem:
                self._violate(f"call {number} has a wrong answer: {problem}", opened)
            killed = opened and self._recovering.get(opened.model)
            if opened and killed and pid != killed[0]:
                self.recovered.append(time.monotonic() - killed[1])
                del self._recovering[opened.model]

    def failed(self, number: int, error: BaseException, allowed: tuple[type[BaseException], ...]) -> None:
        """It ended with an error, which must be of one of the ``allowed`` types."""
        with self._changed:
            opened = self._close(number, type(error).__name__)
            if not isinstance(error, allowed):
                self._violate(f"call {number} ended with {type(error).__name__}: {error}", opened)
            killed = self.killed.get(getattr(getattr(error, "report", None), "pid", 0))
            waits = opened is not None and opened.kind in ("call", "task")
            if opened and killed and waits and opened.at < killed and isinstance(error, isopod.WorkerCrashed):
                self.detected.append(time.monotonic() - killed)

    def dropped(self, number: int, why: str) -> None:
        """Its caller walked away, as it was meant to."""
        with self._changed:
            self._close(number, why)

    def _close(self, number: int, outcome: str) -> Opened | None:
        opened = self._open.pop(number, None)
        if opened is not None:
            self._ended[number] = 1
            self.outcomes[opened.kind, outcome] += 1
            self._changed.notify_all()
        elif 0 < number <= self.issued and self._ended[number]:
            self._violate(f"call {number} ended twice, the second time: {outcome}", None)
        else:
            self._violate(f"call {number} was never begun, and ended: {outcome}", None)
        return opened

    # ------------------------------------------------------------------ kills

    def kill(self, model: str, pid: int) -> None:
        """A worker is killed in this moment."""
        with self._changed:
            self.killed[pid] = time.monotonic()
            self._recovering.setdefault(model, (pid, self.killed[pid]))

    # ------------------------------------------------------------------ rest

    @property
    def over(self) -> bool:
        return self.issued >= self.calls or time.monotonic() >= self.ends_at

    @property
    def resting(self) -> bool:
        return self._resting

    @property
    def closed(self) -> int:
        """How many calls have had their end."""
        return self.issued - len(self._open)

    def end(self) -> None:
        """No more calls are begun."""
        with self._changed:
            self.ends_at = 0.0

    def pause(self, patience: float, callers: int = 0) -> bool:
        """Begin no more calls until ``resume``; whether within ``patience`` seconds all that were begun have ended, and
        that many callers have put everything away.
        """
        with self._changed:
            self._resting = True
            return self._changed.wait_for(lambda: not self._open and self._parked >= callers, patience)

    def resume(self) -> None:
        with self._changed:
            self._resting = False
            self._changed.notify_all()

    def wait(self) -> bool:
        """For callers, with no call open: until the rest is over. False when there are to be no more calls."""
        with self._changed:
            self._parked += 1
            self._changed.notify_all()
            try:
                while self._resting:
                    self._changed.wait()
            finally:
                self._parked -= 1
            return not self.over

    # ------------------------------------------------------------------ what must not be

    def violate(self, what: str) -> None:
        with self._changed:
            self._violate(what, None)

    def overdue(self, seconds: float) -> list[str]:
        """Calls that have been open for longer than ``seconds``."""
        now = time.monotonic()
        with self._changed:
            return [
                f"call {number} ({one.kind} of {one.model}) has had no end for {now - one.at:.1f} s"
                for number, one in self._open.items()
                if now - one.at > seconds
            ]

    def settle(self) -> None:
        """At the end: whatever is still open is lost, and the numbers must add up."""
        with self._changed:
            for number, one in self._open.items():
                self._violate(f"call {number} was lost", one)
            if sum(self.outcomes.values()) + len(self._open) != self.issued:
                self._violate("the outcomes do not add up to the calls that were begun", None)

    def _violate(self, what: str, opened: Opened | None) -> None:
        self.violated += 1
        if len(self.violations) < _KEPT:
            self.violations.append(f"{what} ({opened.kind} of {opened.model})" if opened else what)
