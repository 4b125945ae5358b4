"""The reading end of a mailbox: wait for the next record, spinning first where that pays."""

from __future__ import annotations

import time
from typing import Any

from isopod.ipc.ring import RecordReader
from isopod.ipc.spin import Spin

LOOK_UP = 1_000_000_000  # ns: a wait ends this often, so that nothing that was missed is missed for longer
_LATE_RING = 20_000_000  # ns that a ring may come after its record


class Receiver:
    """Takes records out of one direction's ring. One thread at a time.

    RACE lost ring: an exception out of a signal's handler (Ctrl-C) strikes anywhere, between a record and its ring or
    between a ring and its record. So a record whose ring does not come is taken without it, after a moment.
    """

    __slots__ = ("_bell", "_look_up", "_reader", "_spin", "_waited_ns", "empty_rings", "ready")

    def __init__(self, reader: RecordReader, bell: Any, look_up: int = LOOK_UP, other: int = 0) -> None:
        """``other`` is the process that writes, where its processors may not be ours."""
        self._reader = reader
        self._look_up = look_up
        self._bell = bell  # a ParentDoorbell or a ChildDoorbell
        self._spin = Spin(other=other)
        self.ready = reader.ready
        self._waited_ns = 0  # what there is to learn from
        self.empty_rings = 0  # since the last record

    @property
    def taken(self) -> int:
        """How many records were read."""
        return self._reader.taken

    def receive(self, deadline_ns: int = 0) -> bytes | None:
        """The next record; None when the deadline or ``look_up`` passed, or when somebody rang to be looked after.

        ``deadline_ns`` is a ``time.monotonic_ns()``, 0 for none. Raises ``ProtocolError``.
        """
        reader, bell = self._reader, self._bell
        seen = reader.ready()
        if not (seen and bell.try_wait()):
            spin, rung = self._spin, False
            start = time.monotonic_ns()
            if self._waited_ns:  # of the wait before: then somebody waited for what we do, and now we wait anyway
                spin.learn(self._waited_ns)
                self._waited_ns = 0
            if spin.spins:
                until = start + spin.budget_ns
                seen = reader.spin(time.monotonic_ns, until if not deadline_ns or until < deadline_ns else deadline_ns)
                rung = seen and bell.try_wait()
            if not rung:
                # Where the record was seen but its ring was not, that comes at once: it is its writer's next step.
                until = start + (_LATE_RING if seen else self._look_up)
                rung = bell.wait(until if not deadline_ns or until < deadline_ns else deadline_ns)
                if not (rung or reader.ready()):
                    return None
            if spin.budget_ns:
                self._waited_ns = time.monotonic_ns() - start
        data = reader.read()
        if data is None:
            self.empty_rings += 1
        else:
            self.empty_rings = 0
        return data

    def drain(self) -> bytes | None:
        """The next record that is there already; the other side is dead, so its memory holds still."""
        return self._reader.read()
