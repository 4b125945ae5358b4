"""Leases: arrays that live in shared memory, and what happens when the last view of one dies.

An array that is handed to a user or to a model is the *root* of its block: an ndarray right over the segment's
mapping. Whatever is made of it (slices, reshapes, ``torch.from_numpy``, DLPack, memoryviews) keeps the root alive,
because numpy collapses the ``base`` of a view only as far as the first array that views something which is not an
array. So one weak reference on the root is the whole bookkeeping: when it fires, nobody can reach the memory any
more. (A weak reference on the mapping or on a memoryview of it does not do: ``np.frombuffer`` wraps it in a fresh
one, and the reference fires while the array is in use.)

The inputs of a call that runs do without (*unleased*): whoever runs it holds their roots himself, lets go of them at
its end, and sees whether they are dead then. Most often they are, and a lease takes as long to make and to end as the
array itself. So one is made when an input is kept, or when somebody asks for it. (To count references instead was
tried: a tracer adds to them, and out of a weak reference comes one more at any moment.)

A callback may run at any moment in any thread, even in the middle of our own code, so what it calls must neither
wait for a lock nor fail.
"""

from __future__ import annotations

import weakref
from typing import Any, Tuple

import numpy as np

from isopod.ipc.segment import Segment

Array = Any  # np.ndarray[Any, Any], which the numpy of Python 3.7 cannot spell


class Lease(weakref.ref):  # type: ignore[type-arg]
    """One root array over one block. ``token`` is what its owner needs to take the block back.

    ``private`` is where an array goes that nobody but us has seen, so that it may serve again as it is once we have no
    use for it; None of any other. ``sent`` is how it was described to the other side the last time, and who did that.
    """

    __slots__ = ("holding", "private", "root_id", "segment", "sent")

    segment: Segment
    holding: Holding
    private: Any
    sent: Any
    root_id: int

    @property
    def owner(self) -> Any:
        return self.holding[0]

    @property
    def token(self) -> Any:
        return self.holding[1]

    @property
    def place(self) -> Place:
        return self.segment, self.holding[2], self.holding[4]


# A root, its block, and whose it is: (the owner, who has ``ended(lease)``; the token; where the block begins in its
# segment; its bytes; where the root begins). One value, because the same ones come again and again.
Holding = Tuple[Any, Any, int, int, int]

# Where an array's bytes lie in shared memory: (segment, where the block begins in it, where the array begins in it). A
# plain tuple: a named one takes as long to make as the rest of ``locate``.
Place = Tuple[Segment, int, int]


roots: dict[int, Lease] = {}  # by id of the root; an entry goes before its id can be used again

# Those without a lease: (the root, what its call said of it, its segment, its holding).
unleased: list[tuple[Array, Any, Segment, Holding]] = []


def adopt(root: Array, segment: Segment, holding: Holding, private: Any = None) -> Array:
    """Give a root array, which lies in a block of the segment, its lease: the block's owner hears of its end."""
    lease = Lease(root, _ended)
    lease.segment = segment
    lease.holding = holding
    lease.private = private
    lease.sent = None
    lease.root_id = root_id = id(root)
    roots[root_id] = lease
    return root


def _adopt_all() -> None:
    """Somebody asks for a lease that may be one of those that are not made yet."""
    while unleased:
        root, item, segment, holding = unleased.pop()
        holding[0].open[id(root)] = item
        adopt(root, segment, holding)


def _ended(lease: Any) -> None:
    try:
        root_id = lease.root_id
    except AttributeError:  # Ctrl-C came in the middle of ``adopt``, and its block is lost
        return
    roots.pop(root_id, None)
    lease.holding[0].ended(lease)


def expose(array: Array) -> None:
    """Somebody else is about to see a root, or a part of it: from now on only its end tells that nobody uses it."""
    lease = roots.get(id(array))
    if lease is not None and lease() is array:
        lease.private = None


def lease_of(array: Array) -> Lease | None:
    """The lease of the block that an array's bytes lie in, however far removed from its root; None if there is none."""
    lease = roots.get(id(array))
    if lease is not None and lease() is array:
        return lease
    base = array.base
    if base is None or not (roots or unleased):
        return None
    lease = roots.get(id(base))
    if lease is not None and lease() is base:
        return lease
    if isinstance(base, np.ndarray) and base.base is None:
        return None  # an ordinary view of an ordinary array, the usual case
    if unleased:
        _adopt_all()
        return lease_of(array)
    # Through another library (torch.from_numpy(x).numpy()) the chain of bases is broken; addresses are not.
    address = address_of(array)
    for lease in list(roots.values()):
        _, _, start, size, _ = lease.holding
        if 0 <= address - lease.segment.address - start < size:
            return lease
    return None


def locate(array: Array) -> Place | None:
    """Where a C-contiguous array lies in shared memory, or None if it is an ordinary one."""
    lease = roots.get(id(array))
    if lease is not None and lease() is array:
        return lease.place
    if array.base is None:
        return None  # the usual one
    lease = lease_of(array)
    if lease is None:
        return None
    segment, start, _ = lease.place
    return segment, start, address_of(array) - segment.address


def address_of(array: Array) -> int:
    return int(array.__array_interface__["data"][0])
