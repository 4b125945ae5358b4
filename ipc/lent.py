"""Who has whose memory: what we lent to the other side, and what we borrowed from it.

A block goes out with a record and comes back in one of two ways: an answer returns all inputs of its call, except those
that it declares as held; everything else (a held input, an output that the application has let go) comes back through
the return ring, once for each time that it was lent. While it is out, ``Lent`` keeps its array alive, so the arena
cannot give the memory to anybody else.
"""

from __future__ import annotations

import threading
from typing import Any, Callable, NamedTuple, Sequence

from isopod.ipc.errors import ProtocolError
from isopod.ipc.lease import Lease, expose
from isopod.ipc.record import Tensor
from isopod.ipc.ring import ReturnWriter

_AT_ONCE = 32  # returns that may wait for the next record
_new = tuple.__new__  # a named tuple's own constructor takes twice as long


class Loan(NamedTuple):
    """One array that is with the other side, and the range of its segment that it may speak of."""

    array: Any
    offset: int
    nbytes: int


class _Block:
    """All loans of one block. Which of them comes back is never told, so all ranges stay until the last one has."""

    __slots__ = ("count", "first", "loans")

    def __init__(self, first: Loan) -> None:
        self.count = 1
        self.first = first
        self.loans: dict[tuple[int, int], Loan] | None = None  # by range, once there is more than one

    def add(self, loan: Loan) -> None:
        if self.loans is None:
            self.loans = {(self.first.offset, self.first.nbytes): self.first}
        self.loans[loan.offset, loan.nbytes] = loan
        self.count += 1

    def ranges(self) -> list[Loan]:
        loans = self.loans
        return [self.first] if loans is None else list(loans.values())


class Lent:
    """Arrays of ours that the other side may still read, by segment and block. Safe for many threads.

    RACE early return: what a call holds may come back before its answer, which says that it is held, has been read.
    ``in_flight(key)`` says how often a block is with calls that are yet to be answered: so often it may be *early*.
    ``spent(arrays)``, where given, is told of an array whose block was lent once and has come back.
    """

    def __init__(
        self,
        in_flight: Callable[[tuple[int, int]], int] | None = None,
        spent: Callable[[Sequence[Any]], None] | None = None,
    ) -> None:
        self.early: dict[tuple[int, int], int] = {}
        self._in_flight = in_flight
        self._spent = spent
        self._loans: dict[tuple[int, int], _Block] = {}
        self._lock = threading.Lock()

    def add(self, tensor: Tensor, array: Any) -> None:
        _, _, _, segment, number, offset, nbytes = tensor
        key = (segment, number)
        loan = _new(Loan, (array, offset, nbytes))
        with self._lock:
            if self.early:
                early = self.early.pop(key, 0)
                if early > 1:
                    self.early[key] = early - 1
                if early:
                    return
            block = self._loans.get(key)
            if block is None:
                self._loans[key] = _Block(loan)
            else:
                block.add(loan)

    def release(self, key: tuple[int, int]) -> None:
        """One loan came back. Raises ``ProtocolError`` for a block that the other side does not have."""
        with self._lock:
            block = self._loans.get(key)
            if block is not None:
                block.count -= 1
                if block.count:
                    return
                del self._loans[key]
            else:
                early = self.early.get(key, 0)
                if self._in_flight is None or early >= self._in_flight(key):
                    raise ProtocolError(f"block {key[1]} of segment {key[0]} was returned, but it was not lent")
                self.early[key] = early + 1
                return
        if self._spent is not None and block.loans is None:  # what dies with the block dies outside of the lock
            self._spent((block.first.array,))

    def find(self, tensor: Tensor) -> Loan | None:
        """The loan that a tensor sent back to us lies in. It will be seen by whoever asks."""
        block = self._loans.get((tensor.segment, tensor.block))
        for loan in block.ranges() if block is not None else ():
            if contains(loan, tensor):
                expose(loan.array)
                return loan
        return None

    def clear(self) -> None:
        """The other side is dead: everything is ours again."""
        self._loans = {}
        self._in_flight = None

    def __len__(self) -> int:
        return sum(block.count for block in list(self._loans.values()))

    @property
    def nbytes(self) -> int:
        return sum(loan.nbytes for block in list(self._loans.values()) for loan in block.ranges())


def contains(loan: Loan, tensor: Tensor) -> bool:
    return loan.offset <= tensor.offset and tensor.offset + tensor.nbytes <= loan.offset + loan.nbytes


class Borrowed:
    """The owner of leases over the other side's blocks: returns each when its last view dies.

    In the child (``by_answer``) the inputs of the running call are *open*: they go back with its answer and need no
    entry. Whoever takes a lease out of ``open``, the callback or the answer, decides, and a dict lets only one of
    them.
    """

    def __init__(self, writer: ReturnWriter, by_answer: bool) -> None:
        self.by_answer = by_answer
        self.eager = False
        self.forked = False  # in a copy of this process the blocks are the original's to give back
        self.open: dict[int, tuple[Lease, int]] = {}  # by id of the lease: the lease, and its tensor's number
        self._writer = writer
        self._waiting = writer.waiting
        self._lock = threading.Lock()

    def ended(self, lease: Lease) -> None:
        """A root died. Runs at any moment, in any thread, so it waits for nothing."""
        if not self.by_answer or self.open.pop(id(lease), None) is None:
            self.give_back(lease.token)

    def consumed(self, key: tuple[int, int]) -> None:
        """A tensor was copied out at once, and no array was made of its block."""
        if not self.by_answer:
            self.give_back(key)

    def give_back(self, key: tuple[int, int]) -> None:
        if self.forked:
            return
        waiting = self._waiting
        waiting.append(key)
        if self.eager or len(waiting) > _AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Write what waits. Whoever finds the lock taken leaves its entry to the holder, which looks again."""
        while self._waiting and self._lock.acquire(False):
            try:
                if not self._writer.flush():
                    return
            finally:
                self._lock.release()

    def still_held(self) -> list[int]:
        """End the call: the numbers of the inputs that the model kept. Their leases now return through the ring."""
        held: list[int] = []
        while self.open:
            try:
                _, (_, number) = self.open.popitem()
            except KeyError:  # the last one died just now
                break
            held.append(number)
        return held
