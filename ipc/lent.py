"""Who has whose memory: what we lent to the other side, and what we borrowed from it.

A block goes out with a record and comes back in one of two ways: an answer returns all inputs of its call, except those
that it declares as held; everything else (a held input, an output that the application has let go) comes back through
the return ring, once for each time that it was lent. While it is out, ``Lent`` keeps its array alive, so the arena
cannot give the memory to anybody else.
"""

from __future__ import annotations

import threading
from typing import Any, Callable, NamedTuple, Sequence, Tuple
from weakref import ref

from isopod.ipc.errors import ProtocolError
from isopod.ipc.lease import Lease, adopt, expose, unleased
from isopod.ipc.record import Tensor
from isopod.ipc.ring import ReturnWriter

_AT_ONCE = 32  # returns that may wait for the next record
_Single = Tuple[Tensor, Any]  # what was sent, and the array that keeps it alive


class Loan(NamedTuple):
    """One array that is with the other side, and the range of its segment that it may speak of."""

    array: Any
    offset: int
    nbytes: int


class _Block:
    """All loans of one block, once there is more than one. Which of them comes back is never told, so all ranges stay
    until the last one has.
    """

    __slots__ = ("count", "loans")

    def __init__(self, first: _Single) -> None:
        self.count = 1
        self.loans: dict[tuple[int, int], _Single] = {first[0][5:]: first}  # by range

    def add(self, loan: _Single) -> None:
        self.loans[loan[0][5:]] = loan
        self.count += 1


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
        self.repeats = 0  # loans of blocks that are lent already
        self._in_flight = in_flight
        self._spent = spent
        self.loans: dict[tuple[int, int], _Single | _Block] = {}  # by block; nearly every one is lent once
        self._lock = threading.Lock()

    def add(self, tensor: Tensor, array: Any) -> None:
        key, loan = (tensor.segment, tensor.block), (tensor, array)
        with self._lock:
            if self.early:
                early = self.early.pop(key, 0)
                if early > 1:
                    self.early[key] = early - 1
                if early:
                    return
            block = self.loans.setdefault(key, loan)
            if block is not loan:
                if isinstance(block, tuple):
                    block = self.loans[key] = _Block(block)
                block.add(loan)
                self.repeats += 1

    def release(self, key: tuple[int, int]) -> None:
        """One loan came back. Raises ``ProtocolError`` for a block that the other side does not have."""
        self.take_back(iter((key, None)).__next__)

    def take_back(self, returned: Callable[[], tuple[int, int] | None]) -> None:
        """One loan came back of each block that ``returned`` tells, up to None. One thread at a time asks it.

        Raises ``ProtocolError`` for a block that the other side does not have.
        """
        back = []  # what dies with it dies outside of the lock
        with self._lock:
            while True:
                key = returned()
                if key is None:
                    break
                block = self.loans.get(key)
                if isinstance(block, tuple):
                    back.append(block[1])
                    del self.loans[key]
                else:
                    self._release_one_of(key, block)
        if back and self._spent is not None:
            self._spent(back)

    def _release_one_of(self, key: tuple[int, int], block: _Block | None) -> None:
        """Of a block that was lent several times, or of one that was not lent yet. Locked."""
        if block is not None:
            block.count -= 1
            if block.count:
                self.repeats -= 1
            else:
                del self.loans[key]
            return
        early = self.early.get(key, 0)
        if self._in_flight is None or early >= self._in_flight(key):
            raise ProtocolError(f"block {key[1]} of segment {key[0]} was returned, but it was not lent")
        self.early[key] = early + 1

    def find(self, tensor: Tensor) -> Loan | None:
        """The loan that a tensor sent back to us lies in. It will be seen by whoever asks."""
        for item, array in _loans_of(self.loans.get(tensor[3:5])):
            loan = Loan(array, item.offset, item.nbytes)
            if contains(loan, tensor):
                expose(array)
                return loan
        return None

    def clear(self) -> None:
        """The other side is dead: everything is ours again."""
        self.loans = {}
        self._in_flight = None

    def __len__(self) -> int:
        return sum(block.count if isinstance(block, _Block) else 1 for block in list(self.loans.values()))

    @property
    def nbytes(self) -> int:
        return sum(item.nbytes for block in list(self.loans.values()) for item, _ in _loans_of(block))


def _loans_of(block: _Single | _Block | None) -> list[_Single]:
    if block is None:
        return []
    return [block] if isinstance(block, tuple) else list(block.loans.values())


def contains(loan: Loan, tensor: Tensor) -> bool:
    return loan.offset <= tensor.offset and tensor.offset + tensor.nbytes <= loan.offset + loan.nbytes


class Borrowed:
    """The owner of leases over the other side's blocks: returns each when its last view dies.

    In the child (``by_answer``) the inputs of the running call go back with its answer and need no entry. Those that
    have a lease already are *open*: whoever takes a root's id out of ``open``, the callback or the answer, decides, and
    a dict lets only one of them.
    """

    def __init__(self, writer: ReturnWriter, by_answer: bool) -> None:
        self.by_answer = by_answer
        self.eager = False
        self.forked = False  # in a copy of this process the blocks are the original's to give back
        self.open: dict[int, Tensor] = {}  # by id of the root: what the call said of it
        self._writer = writer
        self.waiting = writer.waiting
        self._turn: dict[str, int] = {}  # the thread that writes what waits

    def ended(self, lease: Lease) -> None:
        """A root died. Runs at any moment, in any thread, so it waits for nothing."""
        if self.open.pop(lease.root_id, None) is None:
            self.give_back(lease.holding[1])

    def consumed(self, key: tuple[int, int]) -> None:
        """A tensor was copied out at once, and no array was made of its block."""
        if not self.by_answer:
            self.give_back(key)

    def give_back(self, key: tuple[int, int]) -> None:
        if self.forked:
            return
        waiting = self.waiting
        waiting.append(key)
        if self.eager or len(waiting) > _AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Write what waits. Whoever finds somebody at it leaves its entry to that one, who looks again.

        RACE lost turn: Ctrl-C may come as soon as the turn is ours. So it bears our name, which a lock would not: by it
        we know afterwards that it is to be given up. Where it does so already, an array has died in the middle of this.
        """
        if not self.waiting:
            return
        turn, us = self._turn, threading.get_ident()
        if turn.get("of") == us:
            return
        try:
            while self.waiting and turn.setdefault("of", us) == us:
                done = self._writer.flush()
                del turn["of"]
                if not done:
                    return
        finally:
            if turn.get("of") == us:
                del turn["of"]

    def still_held(self) -> list[Tensor]:
        """End the call: those of its inputs that the model kept. Their leases now return through the ring."""
        held: list[Tensor] = []
        while unleased:
            root, item, segment, holding = unleased.pop()
            kept = ref(root)
            del root  # RACE late look: from here on either it is dead, or a reference that is not ours keeps it
            root = kept()
            if root is not None:
                adopt(root, segment, holding)
                held.append(item)
        while self.open:
            try:
                held.append(self.open.popitem()[1])
            except KeyError:  # the last one died just now
                break
        return held
