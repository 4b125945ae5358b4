"""Calls that have no worker just now, since theirs died or none is ready: how they are sent when nobody waits for them.

Whoever waits for an answer sends its call again by itself. A future's call has nobody: it comes here, from ``submit``,
which returns at once, or from the dispatcher of a dead worker, which has the others' news to deliver; neither may wait
for a new worker. So a thread does that, which lives for as long as there is something to send.
"""

from __future__ import annotations

import copy
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from isopod.ipc.errors import WorkerTimeout, WorkerUnavailable
from isopod.runtime.calls import Call
from isopod.runtime.deployment import Deployment
from isopod.runtime.flight import deliver
from isopod.runtime.futures import Place
from isopod.runtime.request import ARENA_WAIT_NS
from isopod.runtime.session import Gone, Session

# Is told where a call is now: with a worker, or here.
Follow = Callable[[Call, Place], None]


def resend(deployment: Deployment, call: Call, follow: Callable[[Call, Session], None]) -> None:
    """Give the call to the next worker that is ready, waiting for one if need be. Raises as ``Deployment.live``.

    ``follow`` is told which, before it is sent: RACE unwaited call.
    """
    try:
        while True:
            session = deployment.live(call.deadline_ns)
            follow(call, session)
            try:
                session.resend(call, call.deadline_ns or -ARENA_WAIT_NS)
            except Gone:
                continue
            return
    except Exception:  # goes on to the caller, whose traceback keeps the call, and must not keep its memory
        call.release()
        raise


class SecondChances:
    """Sends calls, in the order in which they come. Safe for many threads. Until it is sent, a call can be cancelled
    here."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._waiting: deque[tuple[Call, Follow]] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def begin(self, call: Call, items: Any, room_by_ns: int, follow: Follow) -> None:
        """Send a call for the first time, or have it sent when there is a worker. Does not wait for one.

        Raises what is wrong with its inputs: ``SpecError``, ``ArenaFull``; and ``Closed``.
        """
        session = self._deployment.running()
        if session is None:
            self._deployment.check_open()
            self._deployment.place(call, items, room_by_ns)
        else:
            follow(call, session)  # first: it may die with its worker, and be sent again, before ``begin`` returns
            try:
                session.begin(call, items, room_by_ns)
                return
            except Gone:
                if not call.record:  # it died before this call was even placed: RACE lost inputs
                    self._deployment.place(call, items, room_by_ns)
        self.give(call, follow)

    def give(self, call: Call, follow: Follow) -> None:
        """Does not wait. If no thread can be had, that is the call's outcome."""
        with self._lock:
            failure = self._enlist(call, follow)
        if failure is not None:
            what = f"model {self._deployment.name!r}: a call could not be given to another worker: {failure}"
            _end(call, WorkerUnavailable(what))
        elif call.deadline_ns:
            self._deployment.wake()  # it may be due before the others

    def _enlist(self, call: Call, follow: Follow) -> RuntimeError | None:
        """Put it last in line, and see that there is a thread; else, why there is none. Locked."""
        try:
            self._waiting.append((call, follow))
            call.carried = True
            follow(call, self)
            if self._thread is None:
                name = f"isopod-again-{self._deployment.name}"
                thread = threading.Thread(target=self._run, name=name, daemon=True)
                thread.start()
                self._thread = thread
        except RuntimeError as error:
            self._waiting.pop()
            return error
        except BaseException:  # goes on to the caller: Ctrl-C, and nobody else has seen the call here yet
            call.carried = False
            if self._waiting and self._waiting[-1][0] is call:
                self._waiting.pop()
            raise
        return None

    def cancel(self, call: Call) -> bool:
        """Take back a call that waits here; whether it did."""
        if self._deployment.is_copy:
            return False  # the lock may have been held by a thread that there is no copy of
        with self._lock:
            for waiting in self._waiting:
                if waiting[0] is call:
                    call.done = call.cancelled = True  # first: Ctrl-C may come before the next line
                    self._waiting.remove(waiting)
                    call.release()
                    break
            return call.cancelled

    def has_begun(self, _: Call) -> bool:
        return False

    def _run(self) -> None:
        while self._turn():
            pass

    def _turn(self) -> bool:
        """One wait for a worker. Its locals hold on to a worker, and must go before the next wait."""
        with self._lock:
            if not self._waiting:
                self._thread = None
                return False
        try:
            session = self._deployment.live_by(self._due)
        except WorkerTimeout as error:  # the outcome of those that are due
            self._end_waiting(error, time.monotonic_ns())
        except Exception as error:  # the outcome of all that wait, as of all who wait themselves
            self._end_waiting(error)
        else:
            self._send_first(session)
        return True

    def _due(self) -> int:
        """When the first of them is due, as ``time.monotonic_ns()``; 0 for never."""
        with self._lock:
            return min((call.deadline_ns for call, _ in self._waiting if call.deadline_ns), default=0)

    def _end_waiting(self, error: Exception, due_by: int = 0) -> None:
        with self._lock:
            ended = [one for one in self._waiting if not due_by or 0 < one[0].deadline_ns <= due_by]
            self._waiting = deque(one for one in self._waiting if one not in ended)
        for call, _ in ended:
            _end(call, error)

    def _send_first(self, session: Session) -> None:
        with self._lock:
            if not self._waiting:  # cancelled
                return
            call, follow = self._waiting.popleft()
            # RACE late follow: before it is sent. It may die with its worker, and be back here, before ``resend``
            # returns. And with the lock: whoever does not find it here to cancel it, finds where it is.
            follow(call, session)
        outcome = call.deliver
        try:
            session.resend(call, call.deadline_ns or -ARENA_WAIT_NS)
        except Gone:
            with self._lock:
                self._waiting.appendleft((call, follow))
                follow(call, self)
        except Exception as error:  # it is the call's outcome, which an abandoned call would not be told
            if not call.cancelled:
                call.deliver = outcome
                _end(call, error)


def _end(call: Call, error: Exception) -> None:
    """Each call has an exception of its own: whoever raises one adds to it. Its traceback would hold the worker."""
    if call.number < 0:  # else its worker may read the inputs: they are let go with its answer
        call.release()
    call.error = own_copy(error)
    call.told = True  # its worker may have it all the same, and answer
    deliver(call)


def own_copy(error: BaseException) -> BaseException:
    """The same error for one more caller."""
    copied = copy.copy(error).with_traceback(None)
    copied.__cause__ = error.__cause__
    return copied
