"""What a recording keeps while it runs: calls, and the births and deaths of workers, in as little as can be.

Nothing is worked out here: calls are kept as their marks, in a ring that forgets the oldest, and made into a timeline
when the recording is over (``perfetto``).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

_MOST_WORKERS = 10_000  # births and deaths that are kept: a model that dies in a loop must not fill the memory


class Worker(NamedTuple):
    """Which process, and whose."""

    pid: int
    model: str
    replica: int


class Answered(NamedTuple):
    """A call and its marks. ``nbytes`` of inputs; ``error`` is the type of what it ended with, "" for none. ``attempt``
    is above 1 where it was sent before, to a worker that died.
    """

    worker: Worker
    call: int
    thread: int
    attempt: int
    marks: list[int]
    nbytes: int
    error: str


class Lost(NamedTuple):
    """A call whose worker died with it. ``sent_ns`` is 0 where that had not been sent; ``begun``: the model saw it."""

    worker: Worker
    call: int
    thread: int
    attempt: int
    asked_ns: int
    sent_ns: int
    ended_ns: int
    begun: bool


class Birth(NamedTuple):
    """The parts of a worker's start, in seconds, from ``began_ns`` on."""

    worker: Worker
    began_ns: int
    parts: Mapping[str, float]


class Death(NamedTuple):
    """``crashed``: it was not meant to."""

    worker: Worker
    ended_ns: int
    crashed: bool
    cause: str


@dataclass
class Recorder:
    """Keeps the latest ``limit`` calls. Safe for many threads; told by ``session``, ``launch`` and ``deployment``."""

    limit: int
    began_ns: int = field(default_factory=time.monotonic_ns)
    heard: int = 0  # calls, with those that are forgotten
    threads: dict[int, str] = field(default_factory=dict)  # names by native id, as they were first seen
    births: deque[Birth] = field(default_factory=lambda: deque(maxlen=_MOST_WORKERS))
    deaths: deque[Death] = field(default_factory=lambda: deque(maxlen=_MOST_WORKERS))

    def __post_init__(self) -> None:
        self.calls: deque[Answered | Lost] = deque(maxlen=self.limit)
        self._lock = threading.Lock()

    @property
    def forgotten(self) -> int:
        """Calls that the recording had no room for: the oldest."""
        return self.heard - len(self.calls)

    def answered(self, session: Any, call: Any, error: BaseException | None) -> None:
        nbytes = sum(item.nbytes for item in call.tensors)
        named = "" if error is None else type(error).__name__
        self._keep(Answered(_worker(session), call.id, call.thread, call.sends, call.marks, nbytes, named))

    def lost(self, session: Any, call: Any) -> None:
        now = time.monotonic_ns()
        asked = call.asked_ns if call.sends == 1 and call.asked_ns else call.submitted_ns
        lost = Lost(_worker(session), call.id, call.thread, call.sends, asked, call.sent_ns, now, call.begun)
        self._keep(lost)

    def started(self, session: Any, began_ns: int, parts: Mapping[str, float]) -> None:
        self.births.append(Birth(_worker(session), began_ns, dict(parts)))

    def ended(self, session: Any) -> None:
        cause = session.cause_of_death if session.crashed else session.process.end_reason or "it was asked to end"
        self.deaths.append(Death(_worker(session), time.monotonic_ns(), session.crashed, cause))

    def _keep(self, call: Answered | Lost) -> None:
        with self._lock:  # calls of several workers
            self.heard += 1
            self.calls.append(call)
            if call.thread not in self.threads:
                self.threads[call.thread] = _thread_name(call.thread)


def _worker(session: Any) -> Worker:
    return Worker(session.process.pid, session.name, session.replica)


def _thread_name(number: int) -> str:
    found = [thread.name for thread in threading.enumerate() if thread.native_id == number]
    return found[0] if found else "a thread"
