"""One direction of a worker's data plane within this process: a sender with its arena, a receiver, and what returns.

The receiver maps the sender's segments anew, as another process would, so its arrays have addresses of their own.
"""

from __future__ import annotations

import os
from typing import Any

from isopod.ipc import ring
from isopod.ipc.arena import Arena
from isopod.ipc.errors import ProtocolError
from isopod.ipc.layout import Layout
from isopod.ipc.lent import Borrowed, Lent
from isopod.ipc.record import Tensor
from isopod.ipc.segment import Segment
from isopod.ipc.transfer import ArenaOwner, Inbound, Outbound

OUTBOX = 0x100  # added to the numbers of segments that are the receiver's own


class Wire:
    """``send`` places an array and lends it; ``receive`` makes the other side's array; ``reclaim`` takes returns in."""

    def __init__(self, limit: int = 8 << 20, returns: int = 64) -> None:
        shape = Layout(slots=4, slot_size=128, returns=returns)
        self._controls = [Segment.create(shape.size) for _ in range(2)]
        for control in self._controls:
            ring.format_control(control, shape)
        mine, its = self._controls
        self.sent: list[Segment] = []
        self.attached: list[Segment] = []
        self.copied_out = 0
        self.copied_in = 0
        self._returns = ring.ReturnReader(its, shape, mine)
        self.arena = Arena(self._grow, limit, "the wire", self.reclaim)
        self.owner = ArenaOwner(self.arena)
        self.lent = Lent(spent=self.owner.spent)
        self.outbound = Outbound(self.owner, self._index_of, self._count_in)
        self.borrowed = Borrowed(ring.ReturnWriter(its, shape, mine), by_answer=False)
        self.inbound = Inbound(self._segment_of, lambda index: index >= OUTBOX, self.borrowed, self._count_out)

    def send(self, array: Any, name: str = "x") -> Tensor:
        item, keep = self.outbound.place(name, array)
        self.lent.add(item, keep)
        return item

    def receive(self, item: Tensor, *lenders: Any) -> Any:
        return self.inbound.array(item, *lenders)

    def cross(self, array: Any) -> Any:
        return self.receive(self.send(array))

    def reclaim(self) -> None:
        for key in self._returns.take():
            self.lent.release(key)

    @property
    def used(self) -> int:
        self.borrowed.flush()
        self.reclaim()
        return self.arena.used

    def close(self) -> None:
        self.arena.close()
        for segment in (*self._controls, *self.sent, *self.attached):
            segment.close()
        self.__dict__.clear()  # fixtures stay alive beyond the census, and each mapping has a descriptor

    def _grow(self, size: int) -> Segment:
        segment = Segment.create(size)
        self.sent.append(segment)
        self.attached.append(Segment.attach(os.dup(segment.fileno())))
        return segment

    def _index_of(self, segment: Segment) -> int | None:
        return next((index for index, known in enumerate(self.sent) if known is segment), None)

    def _segment_of(self, index: int) -> Segment:
        if index % OUTBOX >= len(self.attached):
            raise ProtocolError(f"segment {index} is not known")
        return self.attached[index % OUTBOX]

    def _count_in(self, nbytes: int) -> None:
        self.copied_in += nbytes

    def _count_out(self, nbytes: int) -> None:
        self.copied_out += nbytes
