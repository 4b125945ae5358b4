"""The future of a call: an ordinary ``concurrent.futures.Future`` that can be cancelled until its call begins.

An executor knows when it begins a call, and tells its future. Here the worker begins it, and tells nobody: it leaves a
word that is looked at when somebody asks. So a future stays pending until it is done, ``running`` looks, and ``cancel``
takes the call back from the worker first. Which of the two came first is decided there, under the flight's lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Protocol

from isopod.runtime.calls import Call
from isopod.runtime.outputs import Outputs


class Place(Protocol):
    """Where a call is: with a worker, or waiting for one."""

    def cancel(self, call: Call) -> bool: ...
    def has_begun(self, call: Call) -> bool: ...


class CallFuture(Future[Outputs]):
    """What ``submit`` returns. ``leave`` is called once, before it is done."""

    def __init__(self, leave: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._leave: Callable[[], None] | None = leave
        self._sent: tuple[Call, Place] | None = None  # until it is done: it must not keep the worker's memory
        self._movers: list[threading.Event] = []  # of those who wait to hear where it has gone
        self._notified = threading.Lock()  # taken once and for ever

    def follow(self, call: Call, place: Place) -> None:
        """The call is with this session now, or waits for one: there it is cancelled. It may be done already."""
        self._sent = (call, place)
        if self.done():
            self._sent = None
        self._has_moved()

    def settle(self, call: Call) -> None:
        """Deliver what became of the call."""
        error, call.error = call.error, None
        self._depart()
        call.handed_over()
        try:
            if error is None:
                outputs, call.outputs = call.outputs, None
                self.set_result(outputs)
            elif isinstance(error, CancelledError):
                self._end_cancelled()
            else:  # not raised here: its traceback would hold this frame, and so the future that holds it
                self.set_exception(error)
        finally:
            self._sent = None
            self._has_moved()

    def cancel(self) -> bool:
        """Cancel the call if the worker has not begun it: then it never runs. True if it is cancelled.

        A call that runs is not interrupted, as with any executor, and its outcome counts. But the model is told: see
        ``isopod.worker.cancelled``.
        """
        sent = self._sent
        while sent is not None and not self.done():
            call, place = sent
            taken = False
            try:
                taken = place.cancel(call)
            except BaseException:  # goes on to the caller: Ctrl-C in the middle of it, so it is done again
                taken = place.cancel(call)
                raise
            finally:
                if taken:  # or whoever waits for it would wait for ever
                    self._end_cancelled()
                    self._sent = None
            sent = None if taken else self._gone_on(sent)
        return self.cancelled()

    def _gone_on(self, sent: tuple[Call, Place]) -> tuple[Call, Place] | None:
        """Where the call is by now, if that is somewhere else.

        RACE late cancel: its worker died before it began it, and the dispatcher is just giving it to another.
        """
        call, _ = sent
        while self._sent is sent and call.told and not call.begun and call.may_go_on:
            moved = threading.Event()
            self._movers.append(moved)
            if self._sent is sent:  # else it may not be told
                moved.wait()
        return None if self._sent is sent else self._sent

    def _has_moved(self) -> None:
        while self._movers:
            self._movers.pop().set()

    def running(self) -> bool:
        """Whether the worker has begun the call and not ended it. Two looks at memory, no lock and no message."""
        sent = self._sent
        return sent is not None and not self.done() and sent[1].has_begun(sent[0])

    def _depart(self) -> None:
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()

    def _end_cancelled(self) -> None:
        self._depart()
        super().cancel()
        if self._notified.acquire(blocking=False):
            self.set_running_or_notify_cancel()  # whoever waits for several futures hears of it only by this
