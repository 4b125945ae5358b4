"""How many calls of a model are unanswered, and the limit to that: from their coming, through every worker that dies of
them, to their answer. So a call that was let in is never refused later, however often it is sent again.
"""

from __future__ import annotations

import threading

from isopod.ipc.errors import Overloaded


class Admission:
    """Safe for many threads. Where it is not ``limited``, nothing is counted."""

    def __init__(self, model: str, limit: int | None) -> None:
        self._model = model
        self._limit = limit
        self.limited = limit is not None
        self._inside = 0
        self._lock = threading.Lock()

    def enter(self) -> None:
        """A call comes. Raises ``Overloaded``."""
        if self._limit is None:
            return
        with self._lock:
            if self._inside >= self._limit:
                raise Overloaded(
                    f"model {self._model!r} has {self._limit} calls that wait for their answers, and takes no more"
                )
            self._inside += 1

    def leave(self) -> None:
        """It has its answer, or nobody wants it any more."""
        if self._limit is not None:
            with self._lock:
                self._inside -= 1

    def __enter__(self) -> None:
        if self._limit is not None:
            self.enter()

    def __exit__(self, *_: object) -> None:
        if self._limit is not None:
            self.leave()
