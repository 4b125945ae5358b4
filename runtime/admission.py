"""How many calls of a model are unanswered, and the limit to that: from their coming, through every worker that dies of
them, to their answer. So a call that was let in is never refused later, however often it is sent again.

RACE lost place: Ctrl-C may strike between any two lines. So who is inside is a set and no number: to leave twice is to
leave once, and whoever was perhaps let in leaves in any case.
"""

from __future__ import annotations

import threading

from isopod.ipc.errors import Overloaded


class Admission:
    """Safe for many threads. Where it is not ``limited``, nothing is counted."""

    def __init__(self, model: str, limit: int | None) -> None:
        self.model = model
        self.limit = limit
        self.limited = limit is not None
        self.inside: set[Ticket] = set()
        self.lock = threading.Lock()  # for those who enter: they look before they do

    def ticket(self) -> Ticket:
        """For one call, which is not inside yet."""
        return Ticket(self)


class Ticket:
    """One call's: it is inside from ``enter`` to ``leave``, or in a ``with`` block."""

    __slots__ = ("_admission",)

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    def enter(self) -> None:
        """The call comes. Raises ``Overloaded``."""
        admission = self._admission
        if admission.limit is None:
            return
        with admission.lock:
            count = len(admission.inside)
            if count >= admission.limit:
                calls = (
                    "1 call that waits for its answer" if count == 1 else f"{count} calls that wait for their answers"
                )
                raise Overloaded(f"model {admission.model!r} has {calls}, and takes no more")
            admission.inside.add(self)

    def leave(self) -> None:
        """It has its answer, or nobody wants it any more. Twice is once."""
        self._admission.inside.discard(self)

    def __enter__(self) -> None:
        try:
            self.enter()
        except BaseException:  # goes on to the caller: Ctrl-C, perhaps when it was let in already
            self.leave()
            raise

    def __exit__(self, *_: object) -> None:
        self.leave()
