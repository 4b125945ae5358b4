"""From values to tensors on the wire and back: the only place where a tensor is copied, or found to need no copy.

*Outbound* puts arrays into this side's arena. An array that lies in shared memory already, because ``empty`` made it or
because it is a view of what the other side sent, travels as it is: no byte moves. Everything else costs exactly one
copy, which also makes it contiguous and little-endian. *Inbound* makes arrays over the other side's blocks.

Both tell ``copied(nbytes)`` of each copy, so that "no copies" is a figure and not a hope.
"""

from __future__ import annotations

import operator
import threading
from typing import Any, Callable, Iterable, List, Sequence

import numpy as np

from isopod.ipc import layout, tensor
from isopod.ipc.arena import Arena, Block
from isopod.ipc.errors import ProtocolError, SpecError
from isopod.ipc.lease import Array, Holding, Lease, address_of, adopt, lease_of, locate, roots, unleased
from isopod.ipc.lent import Borrowed
from isopod.ipc.record import Tensor
from isopod.ipc.segment import Segment

_PLAIN_TYPES = (bool, int, float, str, bytes, type(None), list, tuple, dict)
_UNIT, _LARGE = layout.ALIGNMENT, 1 << 16  # bytes
_MAX_SPARE_KINDS, _MAX_SPARE, _MAX_FOUND = 32, 128, 1024  # shapes and dtypes, arrays of each, tensors
_new = tuple.__new__  # a named tuple's own constructor takes twice as long


def _uncounted(nbytes: int) -> None:
    """Nobody wants to know."""


class _Alike(List[Array]):
    """Spare arrays of one shape and dtype, ``most`` of them at most."""

    __slots__ = ("most",)

    def __init__(self) -> None:
        super().__init__()
        self.most = _MAX_SPARE


class ArenaOwner:
    """The owner of leases over our own arena's blocks.

    A copy that went to the other side and is no longer needed there is *spare*: the next array of its shape and dtype
    is copied into it as it stands, which spares a block, an array and a lease each. Safe for many threads.
    """

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self._making = threading.RLock()  # the collector may run a call of somebody's in the middle
        self._spare: dict[tuple[tuple[int, ...], Any], _Alike] = {}
        arena.drop_spares = self._drop_spares

    def ended(self, lease: Lease) -> None:
        self.arena.free(lease.token)

    def empty(self, shape: Any, dtype: Any, label: str, deadline_ns: int = 0) -> Array:
        """An uninitialised array in shared memory. Raises ``ArenaFull``, ``SpecError``."""
        try:
            kind = np.dtype(dtype)
            dims = tuple(operator.index(dim) for dim in (shape if isinstance(shape, (tuple, list)) else (shape,)))
        except TypeError as error:
            raise SpecError(f"{label} cannot have the shape {shape!r} and the dtype {dtype!r}: {error}") from None
        if any(dim < 0 for dim in dims):
            raise SpecError(f"{label} cannot have the shape {dims}")
        if kind.hasobject:
            raise SpecError(f"{label} cannot have the dtype {kind} in shared memory")
        return self.new(dims, kind, label, deadline_ns)

    def copy(self, array: Array, dtype: Any, label: str, deadline_ns: int) -> tuple[Array, Lease]:
        """A copy of an array in shared memory, of which nobody else knows. Raises ``ArenaFull``, ``SpecError``."""
        shape = array.shape
        alike = self._spare.get((shape, dtype))
        if not alike and array.nbytes >= _LARGE:  # a small one had rather have another block than wait for a look
            self.arena.look()
        try:
            root = alike.pop()  # type: ignore[union-attr]
        except (AttributeError, IndexError):  # there is none
            root = self.new(shape, dtype, label, deadline_ns, self._alike(shape, dtype))
            lease = roots[id(root)]
        else:
            lease = roots[id(root)]
            block = lease.holding[1]
            block.label, block.spare = label, False
        root[...] = array
        return root, lease

    def spent(self, arrays: Sequence[Array]) -> None:
        """Neither side needs these any more. What are copies that nobody else has seen is spare."""
        if self.arena.closed:
            return
        # The last one first: then several of one kind are taken again in this order, each under the name it had.
        for array in reversed(arrays):
            lease = roots.get(id(array))
            if lease is not None and lease() is array:
                alike = lease.private
                if alike is not None and len(alike) < alike.most:
                    lease.holding[1].spare = True
                    alike.append(array)
                    if not alike.most:  # RACE given up: just now, and nobody would find it there
                        alike.clear()

    def _alike(self, shape: tuple[int, ...], dtype: Any) -> _Alike:
        """Where a copy of that kind goes when it is spare."""
        key, fresh = (shape, dtype), _Alike()
        with self._making:
            if len(self._spare) >= _MAX_SPARE_KINDS and key not in self._spare:
                for alike in self._spare.values():
                    alike.most = 0  # what is still on its way finds no place there
                    alike.clear()
                self._spare = {}
            return self._spare.setdefault(key, fresh)

    def _drop_spares(self) -> None:
        for alike in list(self._spare.values()):
            alike.clear()

    def new(self, shape: tuple[int, ...], dtype: Any, label: str, deadline_ns: int, private: Any = None) -> Array:
        """An array for a shape and a dtype that need no check; ``private`` as in ``Lease``. Raises ``ArenaFull``,
        ``SpecError``.
        """
        block: Block = self.arena.allocate(dtype.itemsize * tensor.item_count(shape), label, deadline_ns)
        try:
            holding = (self, block, block.offset, block.size, block.offset)
            segment = block.home.segment
            return adopt(np.ndarray(shape, dtype, segment.map, block.offset), segment, holding, private)
        except ValueError as error:  # more dimensions than numpy has
            self.arena.free(block)
            raise SpecError(f"{label} cannot have the shape {shape!r}: {error}") from None


class _OutOfReach(ProtocolError):
    """The other side cannot have the segment that an array lies in."""


class Outbound:
    """Places values into the arena, or finds where they lie already.

    ``index_of(segment)`` is the number under which the other side knows a segment, or None if it cannot know it.
    ``may_refer(lease)`` has the last word on whether an array that lies in shared memory may travel as it is.
    """

    def __init__(
        self,
        owner: ArenaOwner,
        index_of: Callable[[Segment], int | None],
        copied: Callable[[int], None] = _uncounted,
        may_refer: Callable[[Lease], bool] | None = None,
    ) -> None:
        self.owner = owner
        self._us = object()  # marks how we described an array: our numbers for segments are not another's
        self._may_refer = may_refer
        self._index_of = index_of
        self._copied = copied

    def place_all(
        self, items: Iterable[tuple[str, Any]], deadline_ns: int = 0
    ) -> tuple[list[Tensor], list[Any], dict[str, Any]]:
        """(tensors, the arrays that keep their memory alive, the plain part of the record).

        Raises ``SpecError`` for what cannot be sent, ``ArenaFull``.
        """
        tensors: list[Tensor] = []
        kept: list[Any] = []
        plain: list[list[Any]] = []
        copied, codes, copy, us = 0, tensor.codes, self.owner.copy, self._us
        for name, value in items:
            array = value if type(value) is np.ndarray else as_array(value)
            if array is None:
                if not isinstance(value, _PLAIN_TYPES):
                    raise SpecError(
                        f"{name} is a {type(value).__module__}.{type(value).__qualname__}, which cannot be sent; "
                        "use an array, a number, text, or lists and dicts of these"
                    )
                plain.append([len(tensors) + len(plain), name, value])
                continue
            dtype = array.dtype
            code = codes.get(dtype)
            if code is not None and array.base is None:  # an ordinary array: no detour by ``place``
                keep, lease = copy(array, dtype, name, deadline_ns)
                sent = lease.sent  # its shape is the same as ever, but its bytes may have been another type's, or text
                if sent is not None and sent[0] is us and sent[1].name == name and sent[1].dtype == code:
                    placed = sent[1]
                else:
                    placed = self._describe(name, code, array.shape, keep, lease)
                copied += placed.nbytes
            else:
                placed, keep = self.place(name, array, deadline_ns)
            tensors.append(placed)
            kept.append(keep)
        if copied:
            self._copied(copied)
        return tensors, kept, {"values": plain} if plain else {}

    def place(self, name: str, array: Array, deadline_ns: int = 0) -> tuple[Tensor, Array]:
        dtype = array.dtype
        code = tensor.codes.get(dtype)
        if code is None:
            try:
                code = tensor.code_of(array)
            except SpecError as error:
                raise SpecError(f"{name}: {error}") from None
            if tensor.is_text(code):
                packed = np.frombuffer(tensor.pack_text(array, name), np.uint8)
                root = self._copy(name, packed, packed.dtype, deadline_ns)
                return self._describe(name, code, array.shape, root, roots[id(root)]), root
            dtype = tensor.dtype_of(code, dtype.itemsize)
        if array.flags.c_contiguous and array.dtype.isnative:
            lease = lease_of(array)
            if lease is not None and (self._may_refer is None or self._may_refer(lease)):
                sent = lease.sent
                if sent is not None and sent[0] is self._us:
                    kept: Tensor = sent[1]
                    if kept.name == name and kept.dtype == code and kept.shape == array.shape and lease() is array:
                        return kept, array
                try:
                    return self._describe(name, code, array.shape, array, lease), array
                except _OutOfReach:
                    pass  # it is copied
        root = self._copy(name, array, dtype, deadline_ns)
        return self._describe(name, code, array.shape, root, roots[id(root)]), root

    def place_again(
        self, tensors: Sequence[Tensor], kept: Sequence[Array], deadline_ns: int = 0
    ) -> tuple[list[Tensor], list[Array]]:
        """What ``place_all`` placed for another receiver, under the numbers by which this one knows the segments.

        What lies in a segment that this one cannot have (its model was closed) is copied.
        """
        moved, arrays = [], []
        for item, array in zip(tensors, kept):
            place = locate(array)
            index = None if place is None else self._index_of(place[0])
            if index is None:
                root = self._copy(item.name, array, array.dtype, deadline_ns)
                moved.append(self._describe(item.name, item.dtype, item.shape, root, roots[id(root)]))
                arrays.append(root)
            else:
                moved.append(item._replace(segment=index))
                arrays.append(array)
        return moved, arrays

    def _copy(self, name: str, array: Array, dtype: Any, deadline_ns: int) -> Array:
        root, _ = self.owner.copy(array, dtype, name, deadline_ns)
        self._copied(root.nbytes)
        return root

    def _describe(self, name: str, code: int, shape: tuple[int, ...], array: Array, lease: Lease) -> Tensor:
        """An array of that lease, under the shape that it has for the other side. A root's is kept for next time."""
        is_root = lease() is array
        segment = lease.segment
        index = self._index_of(segment)
        if index is None:
            raise _OutOfReach("a block lies in a segment that the other side cannot have")
        offset = lease.holding[4] if is_root else address_of(array) - segment.address
        described: Tensor = _new(Tensor, (name, code, shape, index, lease.holding[2] // _UNIT, offset, array.nbytes))
        if is_root:
            lease.sent = (self._us, described)
        return described

    def spill(self, record: bytes, deadline_ns: int = 0) -> tuple[Tensor, Array]:
        """Put a record that is longer than a slot into a block."""
        array = np.frombuffer(record, np.uint8)
        root = self._copy("record", array, array.dtype, deadline_ns)
        return self._describe("record", tensor.codes[array.dtype], array.shape, root, roots[id(root)]), root


class Inbound:
    """Makes arrays over what the other side sent, after checking every number of it.

    ``segment_of(index)`` maps a segment or raises ``ProtocolError``; ``ours(index)`` says whether its blocks are this
    side's own, which come back only as views of what was lent.
    """

    def __init__(
        self,
        segment_of: Callable[[int], Segment],
        ours: Callable[[int], bool],
        borrowed: Borrowed,
        copied: Callable[[int], None] = _uncounted,
    ) -> None:
        self.borrowed = borrowed
        self._copied = copied
        self._segment_of = segment_of
        self._ours = ours
        # What was found of tensors that lie in the other side's blocks. A number stands for one segment for ever, so it
        # stays true; the segment itself is not kept.
        self._found: dict[Tensor, tuple[Any, Holding]] = {}

    def array(self, item: Tensor, *lenders: Any) -> Array:
        """The array of one tensor; ``lenders`` (``find(tensor)``) know what of ours the other side may send back.

        Raises ``ProtocolError``; ``SpecError`` if the dtype is unknown on this side, and then its block goes back.
        """
        segment = self._segment_of(item.segment)
        found = self._found.get(item)
        if found is None:
            if item.offset + item.nbytes > segment.size or not 0 <= item.block * _UNIT <= item.offset:
                raise ProtocolError(f"a tensor lies outside of its segment: {item}")
            if tensor.is_text(item.dtype):
                return self._text(item, segment)
            try:
                dtype = tensor.checked_dtype(item.dtype, item.shape, item.nbytes)
            except SpecError:
                if not self._ours(item.segment):
                    self.borrowed.consumed((item.segment, item.block))
                raise
            if self._ours(item.segment):
                return self._view(item, dtype, lenders)
            found = self._note(item, dtype)
        dtype, holding = found
        try:
            root = np.ndarray(item.shape, dtype, segment.map, holding[4])
        except (ValueError, OverflowError) as error:  # an empty tensor may still claim impossible dimensions
            raise ProtocolError(f"a tensor cannot have the shape {item.shape}: {error}") from None
        if self.borrowed.by_answer:
            unleased.append((root, item, segment, holding))
            return root
        return adopt(root, segment, holding)

    def _note(self, item: Tensor, dtype: Any) -> tuple[Any, Holding]:
        if len(self._found) >= _MAX_FOUND:
            self._found.clear()
        start = item.block * _UNIT
        holding = (self.borrowed, (item.segment, item.block), start, item.offset + item.nbytes - start, item.offset)
        return self._found.setdefault(item, (dtype, holding))

    def _view(self, item: Tensor, dtype: Any, lenders: Sequence[Any]) -> Array:
        for lent in lenders:
            loan = lent.find(item)
            if loan is not None:
                view = _over(item, dtype, loan.array, item.offset - loan.offset)
                if self.borrowed.by_answer:
                    view.flags.writeable = False  # an output that came back: other workers cannot write to it either
                return view
        raise ProtocolError(f"a tensor lies in memory that was not lent: {item}")

    def _text(self, item: Tensor, segment: Segment) -> Array:
        if self._ours(item.segment):
            raise ProtocolError("text lies in memory that is not its sender's")
        data = bytes(segment.map[item.offset : item.offset + item.nbytes])
        self._copied(len(data))
        self.borrowed.consumed((item.segment, item.block))
        return tensor.unpack_text(item.dtype, item.shape, data)

    def spilled(self, item: Tensor) -> bytes:
        """The record that was too long for its slot, copied out."""
        segment = self._segment_of(item.segment)
        end = item.offset + item.nbytes
        if self._ours(item.segment) or end > segment.size or item.block * _UNIT > item.offset:
            raise ProtocolError("a spilled record lies outside of its segment")
        if item.nbytes > layout.MAX_PLAIN + layout.MAX_TENSORS * (32 + layout.MAX_RANK * 8 + layout.MAX_NAME):
            raise ProtocolError(f"a spilled record has {item.nbytes} bytes")
        record = bytes(segment.map[item.offset : item.offset + item.nbytes])
        self.borrowed.consumed((item.segment, item.block))
        return record


def _over(item: Tensor, dtype: Any, loan: Array, offset: int) -> Array:
    try:
        return np.ndarray(item.shape, dtype, loan, offset)
    except (ValueError, OverflowError, TypeError) as error:
        raise ProtocolError(f"a view of what was lent cannot have the shape {item.shape}: {error}") from None


def as_array(value: Any) -> Array | None:
    """The value as an ndarray without copying where it can be; None for what is not an array."""
    if type(value) is np.ndarray:
        return value
    if isinstance(value, (np.ndarray, np.generic)):
        return np.asarray(value)
    if hasattr(type(value), "__array__") and not isinstance(value, type):
        return np.asarray(value)  # torch, tensorflow, pandas, xarray: whatever can show itself as an array
    return None


def in_order(arrays: dict[str, Any], count: int, plain: dict[str, Any]) -> dict[str, Any]:
    """The arrays of ``count`` tensors, and plain values among them, in the order in which they were sent.

    Raises ``ProtocolError`` where the plain part does not have the form that ``place_all`` gave it, or a name comes
    twice.
    """
    if plain:
        items = list(arrays.items())
        values = plain.get("values", [])
        if type(values) is not list:
            raise ProtocolError("the plain values of a record are not a list")
        for value in values:
            if type(value) is not list or len(value) != 3 or type(value[0]) is not int or type(value[1]) is not str:
                raise ProtocolError("a plain value of a record has the wrong form")
            items.insert(max(0, min(value[0], len(items))), (value[1], value[2]))
        arrays, count = dict(items), count + len(values)
    if len(arrays) != count:
        raise ProtocolError("a record names a value twice")
    return arrays
