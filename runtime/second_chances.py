"""Calls that have no worker just now, since theirs died or none is ready: how they are sent when nobody waits for them.

Whoever waits for an answer sends its call again by itself. A future's call has nobody: it comes here, from ``submit``,
which returns at once, or from the dispatcher of a dead worker, which has the others' news to deliver; neither may wait
for a new worker. So a thread does that, which lives for as long as there is something to send.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from isopod.ipc.errors import IsopodError
from isopod.runtime.calls import Call, deadline_after
from isopod.runtime.deployment import Deployment
from isopod.runtime.futures import Place
from isopod.runtime.session import Gone, Session

_ARENA_WAIT = 5.0  # seconds to wait for memory: only a record that was spilled, or a foreign array, needs any


# Is told where a call is now: with a worker, or here.
Follow = Callable[[Call, Place], None]


def resend(deployment: Deployment, call: Call) -> Session:
    """Give the call to the next worker that is ready, waiting for one if need be. Raises as ``Deployment.live``."""
    while True:
        session = deployment.live(call.deadline_ns)
        try:
            session.resend(call, call.deadline_ns or deadline_after(_ARENA_WAIT))
        except Gone:
            continue
        return session


class SecondChances:
    """Sends calls again, in the order in which they come. Safe for many threads. Until it is sent, a call can be
    cancelled here."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._waiting: deque[tuple[Call, Follow]] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def give(self, call: Call, follow: Follow) -> None:
        """Does not wait."""
        with self._lock:
            self._waiting.append((call, follow))
            follow(call, self)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name=f"isopod-again-{self._deployment.name}", daemon=True
                )
                self._thread.start()

    def cancel(self, call: Call) -> bool:
        """Take back a call that waits here; whether it did."""
        with self._lock:
            for waiting in self._waiting:
                if waiting[0] is call:
                    self._waiting.remove(waiting)
                    call.done = call.cancelled = True
                    call.release()
                    break
            return call.cancelled

    def has_begun(self, _: Call) -> bool:
        return False

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                call, follow = self._waiting[0]
            try:
                session = self._deployment.live(call.deadline_ns)
                if self._take(call):
                    self._send(call, follow, session)
            except IsopodError as error:  # it is the call's outcome
                if self._take(call):
                    _end(call, error)
            del call, follow

    def _take(self, call: Call) -> bool:
        """Whether it still waits; from here on it is not cancelled here."""
        with self._lock:
            if self._waiting and self._waiting[0][0] is call:
                self._waiting.popleft()
                return True
            return False

    def _send(self, call: Call, follow: Follow, session: Session) -> None:
        try:
            session.resend(call, call.deadline_ns or deadline_after(_ARENA_WAIT))
        except Gone:
            with self._lock:
                self._waiting.appendleft((call, follow))
            return
        except IsopodError as error:  # it is the call's outcome
            _end(call, error)
            return
        follow(call, session)


def _end(call: Call, error: IsopodError) -> None:
    call.release()
    call.error = error
    if call.deliver is not None:
        call.deliver(call)
