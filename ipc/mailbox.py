"""The reading end of a mailbox: wait for the next record, spinning first where that pays."""

from __future__ import annotations

import time
from typing import Any

from isopod.ipc.doorbell import Spin
from isopod.ipc.ring import RecordReader

_LOOK_UP = 1_000_000_000  # ns: a wait ends this often, so that nothing that was missed is missed for longer
_LATE_RING = 20_000_000  # ns that a ring may come after its record


class Receiver:
    """Takes records out of one direction's ring. One thread at a time.

    RACE lost ring: an exception out of a signal's handler (Ctrl-C) strikes anywhere, between a record and its ring or
    between a ring and its record. So a record whose ring does not come is taken without it, after a moment.
    """

    __slots__ = ("_bell", "_reader", "_spin", "empty_rings", "ready")

    @property
    def taken(self) -> int:
        """How many records were read."""
        return self._reader.taken

    def __init__(self, reader: RecordReader, bell: Any) -> None:
        self._reader = reader
        self._bell = bell  # a ParentDoorbell or a ChildDoorbell
        self._spin = Spin()
        self.ready = reader.ready
        self.empty_rings = 0  # since the last record

    def receive(self, deadline_ns: int = 0) -> bytes | None:
        """The next record; None when the deadline or a second passed, or when somebody rang to be looked after.

        ``deadline_ns`` is a ``time.monotonic_ns()``, 0 for none. Raises ``ProtocolError``.
        """
        reader, bell = self._reader, self._bell
        if reader.ready() and bell.try_wait():
            return self._read()
        spin = self._spin
        start = time.monotonic_ns()
        if spin.spins:
            until = start + spin.budget_ns
            reader.spin(time.monotonic_ns, until if not deadline_ns else min(until, deadline_ns))
        # Where the record was seen but its ring was not, the ring comes at once: it is its writer's next step.
        until = start + (_LATE_RING if reader.ready() else _LOOK_UP)
        if not bell.wait(min(until, deadline_ns) if deadline_ns else until):
            return self._read() if reader.ready() else None
        spin.learn(time.monotonic_ns() - start)
        data = self._read()
        if data is None:
            self.empty_rings += 1
        return data

    def _read(self) -> bytes | None:
        data = self._reader.read()
        if data is not None:
            self.empty_rings = 0
        return data

    def drain(self) -> bytes | None:
        """The next record that is there already; the other side is dead, so its memory holds still."""
        return self._reader.read()
