"""A call that its caller waits for, and where it is.

RACE unwaited call: Ctrl-C may come when a call is sent, and before anybody waits for it. So where it is stands here
before it is sent, and whoever made this takes it back, whatever was raised: else the model would not be told, and
nobody would end it at its deadline.
"""

from __future__ import annotations

from typing import Protocol

from isopod.runtime.admission import Ticket
from isopod.runtime.calls import Call
from isopod.runtime.session import Session


class Waitable(Protocol):
    """Where a call is waited for."""

    def wait(self, call: Call) -> None: ...
    def abandon(self, call: Call) -> None: ...


class Underway:
    """``ticket`` is the call's, where it has one of its own. ``at`` is None until there is anything to take back."""

    __slots__ = ("at", "ticket")

    def __init__(self, ticket: Ticket | None = None) -> None:
        self.at: tuple[Call, Waitable] | None = None
        self.ticket = ticket

    def follow(self, call: Call, session: Session) -> None:
        """It is about to be sent to this worker."""
        self.at = (call, session.flight)

    def drop(self) -> None:
        """Nobody waits for it any more. Twice is once."""
        at = self.at
        if at is not None:
            call, place = at
            place.abandon(call)
            self.at = None  # a traceback keeps this, and must not keep the worker's memory
        if self.ticket is not None:
            self.ticket.leave()
