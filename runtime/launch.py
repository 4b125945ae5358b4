"""One start of a worker: from the order to spawn a process until the worker is ready or dead."""

from __future__ import annotations

import time
from collections.abc import Iterable

from isopod.runtime import startup
from isopod.runtime.keeper import Timer
from isopod.runtime.observe import recording
from isopod.runtime.session import Session


class Launch:
    """``session`` is there once there is a process. The fleet's lock is held around everything here."""

    def __init__(self, seat: int) -> None:
        self.seat = seat
        self.session: Session | None = None
        self.began = time.monotonic()
        self._deadline: Timer | None = None

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def account(self, session: Session) -> dict[str, float]:
        """Where the time went until now, when its session is ready."""
        spawned = session.process.spawned_ns / 1e9
        said = session.interface["timings"]
        parts = startup.parts(said, ordered=self.began, spawned=spawned, total=self.seconds)
        if recording.active is not None:
            recording.active.started(session, int(self.began * 1e9), parts)
        return parts

    @property
    def sessions(self) -> list[Session]:
        """The session, if there is one."""
        return [] if self.session is None else [self.session]

    def take(self, session: Session, deadline: Timer) -> None:
        """There is a process, which is to be ready by a deadline."""
        self.session, self._deadline = session, deadline

    def over(self) -> None:
        """It is ready, or dead, or nobody wants it any more."""
        if self._deadline is not None:
            self._deadline.cancel()


def launch_of(session: Session, launches: Iterable[Launch]) -> Launch | None:
    """The one that it belongs to, while it is neither ready nor dead."""
    return next((launch for launch in launches if launch.session is session), None)
