"""Calls whose worker died, and that another one may answer: how they are sent again when nobody waits for them.

Whoever waits for an answer sends its call again by itself. A future's call has nobody: it comes here, on the dispatcher
of the dead worker, which has the others' news to deliver and must not wait for a new worker. So a thread does that,
which lives for as long as there is something to send.
"""

from __future__ import annotations

import threading
from collections import deque

from isopod.ipc.errors import IsopodError
from isopod.runtime.calls import Call, deadline_after
from isopod.runtime.deployment import Deployment
from isopod.runtime.session import Gone, Session

_ARENA_WAIT = 5.0  # seconds to wait for memory: only a record that was spilled, or a foreign array, needs any


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
    """Sends calls again, in the order in which they come. Safe for many threads."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._calls: deque[Call] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def give(self, call: Call) -> None:
        """Does not wait."""
        with self._lock:
            self._calls.append(call)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name=f"isopod-again-{self._deployment.name}", daemon=True
                )
                self._thread.start()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._calls:
                    self._thread = None
                    return
                call = self._calls.popleft()
            try:
                resend(self._deployment, call)
            except IsopodError as error:  # it is the call's outcome
                _end(call, error)
            del call


def _end(call: Call, error: IsopodError) -> None:
    call.release()
    call.error = error
    if call.deliver is not None:
        call.deliver(call)
