"""The parent's ends of one worker's data plane: both control segments, both doorbells, and what they carry.

Made before the worker knows of them, and given back when it is dead and nobody leads any more. Arrays, and whoever
still looks at a ring, keep their own mappings: closing gives the descriptors back.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TypeVar

from isopod.ipc import ring
from isopod.ipc.doorbell import GuardedDoorbell, ParentDoorbell
from isopod.ipc.layout import Layout
from isopod.ipc.lent import Borrowed, Lent
from isopod.ipc.mailbox import Receiver
from isopod.ipc.notices import Cancellations, Progress
from isopod.ipc.segment import Segment

_Closable = TypeVar("_Closable", bound=Segment | ParentDoorbell | GuardedDoorbell)


class Mailboxes:
    """Inbox and outbox of one worker. ``protected``: it can only read its inbox; all that it writes is in its outbox.

    Raises ``OSError`` where the machine has no memory or no descriptors left, ``SandboxUnavailable``.
    """

    def __init__(self, *, protected: bool = False) -> None:
        shape = Layout()
        self.credits = shape.slots
        self.payload = shape.payload
        with contextlib.ExitStack() as failed:
            self._inbox = _closing(failed, Segment.create(shape.size, "isopod-inbox", protected=protected))
            self._outbox = _closing(failed, Segment.create(shape.size, "isopod-outbox"))
            bell = GuardedDoorbell if protected else ParentDoorbell
            self._inbell, self._outbell = _closing(failed, bell()), _closing(failed, bell())
            for segment in (self._inbox, self._outbox):
                ring.format_control(segment, shape)
            self._writer = ring.RecordWriter(self._inbox, shape)
            self.returns = ring.ReturnReader(self._outbox, shape, self._inbox)
            self._reclaiming = threading.Lock()
            self.receiver = Receiver(ring.RecordReader(self._outbox, shape), self._outbell)
            self.borrowed = Borrowed(ring.ReturnWriter(self._inbox, shape, self._outbox), by_answer=False)
            self.progress = Progress(self._outbox)
            self.cancellations = Cancellations(self._inbox, shape)
            self.ring_ourselves = self._outbell.ring  # makes whoever waits for an answer look up
            failed.pop_all()

    @property
    def descriptors(self) -> list[int]:
        """As they go with the ``attach`` message."""
        return [self._inbox.fileno(), self._outbox.fileno(), self._inbell.fd, self._outbell.fd]

    def send(self, record: bytes) -> int:
        """Put one record into the inbox and ring; returns its number. The caller holds a lock and a credit."""
        number = self._writer.write(record)
        self._inbell.ring()
        self.borrowed.flush()  # last: the worker is under way
        return number

    def reclaim(self, lent: Lent) -> None:
        """Take back what the worker has returned. Safe for many threads. Raises ``ProtocolError``."""
        if not self.returns.ready():
            return
        with self._reclaiming:
            for key in self.returns.take():
                lent.release(key)

    def close(self) -> None:
        for part in (self._inbell, self._outbell, self._inbox, self._outbox):
            part.close()


def _closing(failed: contextlib.ExitStack, made: _Closable) -> _Closable:
    failed.callback(made.close)
    return made
