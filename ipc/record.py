"""What stands in a ring record: one call, or its answer.

::

    header       kind u8 · flags u8 · tensors u16 · plain bytes u32 · call u64 · five u64
                 call:   deadline (0: none) · submitted · 0 · 0 · 0              times are ``time.monotonic_ns()``
                 answer: received · started · finished · sent · bytes that the worker copied for this call
    tensors      dtype u8 · rank u8 · segment u16 · name bytes u16 · spare u16
                 block u64 · offset u64 · bytes u64, then rank × i64, then the name
    plain        msgpack: what is not a tensor, and which inputs the model still holds

``sent`` is written last, into the slot itself (``layout.SENT_WORD``): the making of the record lies before it.

Names travel with each tensor: both sides keep a small dictionary of them, so a name costs what an index would, and
there is no shared numbering that could come apart. A record that is longer than a slot goes into a block, and
the slot holds only a header with ``SPILLED`` and one tensor that says where.

Pure bytes to values: no memory is mapped and no array is made here. Whatever comes in is checked against the limits
with Python integers, and ``ProtocolError`` is the only thing that comes out.
"""

from __future__ import annotations

import struct
import types
from typing import Any, Dict, NamedTuple, Sequence, Tuple

from isopod.ipc import layout, plain
from isopod.ipc.errors import ProtocolError, SpecError

CALL, RESULT, RAISED, EXPIRED, FULL, CANCELLED = 1, 2, 3, 4, 5, 6
SPILLED = 1

_HEADER = struct.Struct("<BBHIQQQQQQ")
_FORM = struct.Struct("<HHIQQQQQQ")  # the same, with kind and flags as one number: all that there are stand in a table
_FORMS = {kind | flags << 8: (kind, bool(flags)) for kind in range(CALL, CANCELLED + 1) for flags in (0, SPILLED)}
_HEADER_SIZE = _HEADER.size
_TENSOR = struct.Struct("<BBHHxxQQQ")
_DIMS = [struct.Struct(f"<{rank}q") for rank in range(layout.MAX_RANK + 1)]
_MAX_CACHED_NAMES = 4096
_NOTHING: Any = types.MappingProxyType({})  # the plain part of most records

# Tensors of the same form in the same blocks come again and again, so the latest are kept as they stand on the wire.
_MAX_KEPT, _MAX_KEPT_BYTES = 256, 8192

_decoded_tensors: dict[bytes, tuple[Tensor, ...]] = {}
_encoded_tensors: dict[tuple[Tensor, ...], bytes] = {}
_encoded_names: dict[str, bytes] = {}
_decoded_names: dict[bytes, str] = {}


Stamps = Tuple[int, int, int, int, int]
_new = tuple.__new__  # a named tuple's own constructor takes twice as long


class Tensor(NamedTuple):
    """Where one tensor lies: no memory, only numbers. ``block`` is where its block starts, in units of 64 bytes."""

    name: str
    dtype: int
    shape: tuple[int, ...]
    segment: int
    block: int
    offset: int
    nbytes: int


class Record(NamedTuple):
    """One call or answer, decoded. ``stamps`` mean what the module's docstring says for its kind."""

    kind: int
    call: int
    stamps: Stamps
    tensors: Tuple[Tensor, ...]
    plain: dict[str, Any]
    spilled: bool = False


Fields = Tuple[int, int, Stamps, Tuple[Tensor, ...], Dict[str, Any], bool]  # of a ``Record``


def encode(
    kind: int,
    call: int,
    stamps: Stamps,
    tensors: Sequence[Tensor],
    extra: dict[str, Any] | bytes | None = None,
    flags: int = 0,
) -> bytes:
    """One record; ``extra`` may be packed already. Raises ``SpecError`` where a limit of the wire is passed."""
    kept = tuple(tensors)
    described = _encoded_tensors.get(kept)
    if described is None:
        described = _encode_tensors(kept)
    tail = b""
    if extra:
        tail = extra if isinstance(extra, bytes) else plain.pack(extra)
        if len(tail) > layout.MAX_PLAIN:
            raise SpecError(
                f"values that are not arrays take {len(tail)} bytes, at most {layout.MAX_PLAIN} can be sent; use arrays"
            )
    a, b, c, d, e = stamps  # ``*stamps`` would take twice as long
    return _HEADER.pack(kind, flags, len(kept), len(tail), call, a, b, c, d, e) + described + tail


def _encode_tensors(tensors: tuple[Tensor, ...]) -> bytes:
    if len(tensors) > layout.MAX_TENSORS:
        raise SpecError(f"{len(tensors)} tensors in one call; at most {layout.MAX_TENSORS} can be sent")
    parts: list[bytes] = []
    put = parts.append
    for name, dtype, shape, segment, block, offset, nbytes in tensors:
        label = _encoded_names.get(name) or _encode_name(name)
        rank = len(shape)
        if rank > layout.MAX_RANK:
            raise SpecError(f"{name} has {rank} dimensions; at most {layout.MAX_RANK} can be sent")
        put(_TENSOR.pack(dtype, rank, segment, len(label), block, offset, nbytes))
        put(_DIMS[rank].pack(*shape))
        put(label)
    described = b"".join(parts)
    if len(described) <= _MAX_KEPT_BYTES:
        if len(_encoded_tensors) >= _MAX_KEPT:
            _encoded_tensors.clear()
        _encoded_tensors[tensors] = described
    return described


def decode(data: bytes) -> Record:
    """The record in ``data``, a private copy. Raises ``ProtocolError`` for anything that is not one."""
    return _new(Record, fields_of(data))


def fields_of(data: bytes) -> Fields:
    """What ``decode`` does, as a plain tuple: it takes half as long, for who takes it apart at once."""
    try:
        form, count, tail, call, a, b, c, d, e = _FORM.unpack_from(data)
        kind, spilled = _FORMS[form]
    except struct.error:
        raise ProtocolError(f"a record of {len(data)} bytes is too short") from None
    except KeyError:
        raise ProtocolError(f"a record has the impossible header {_HEADER.unpack_from(data)[:4]}") from None
    end = len(data) - tail
    if tail and (end < _HEADER_SIZE or tail > layout.MAX_PLAIN):
        raise ProtocolError(f"a record of {len(data)} bytes has the impossible header of {tail} plain ones")
    described = data[_HEADER_SIZE:end]
    tensors = _decoded_tensors.get(described)
    if tensors is None or len(tensors) != count:
        tensors = _decode_tensors(described, count)
    extra = plain.unpack(data[end:]) if tail else _NOTHING
    if tail and type(extra) is not dict:
        raise ProtocolError("the plain part of a record is not a dict")
    return kind, call, (a, b, c, d, e), tensors, extra, spilled


def _decode_tensors(data: bytes, count: int) -> tuple[Tensor, ...]:
    if count > layout.MAX_TENSORS:
        raise ProtocolError(f"a record has the impossible header of {count} tensors")
    found = []
    at, size = 0, len(data)
    for _ in range(count):
        tensor, at = _decode_tensor(data, at, size)
        found.append(tensor)
    if at != size:
        raise ProtocolError(f"{count} tensors take {at} bytes of a record, not {size}")
    tensors = tuple(found)
    if size <= _MAX_KEPT_BYTES:
        if len(_decoded_tensors) >= _MAX_KEPT:
            _decoded_tensors.clear()
        _decoded_tensors[data] = tensors
    return tensors


def _decode_tensor(data: bytes, at: int, size: int) -> tuple[Tensor, int]:
    if at + _TENSOR.size > size:
        raise ProtocolError("a record ends within a tensor")
    dtype, rank, segment, length, block, offset, nbytes = _TENSOR.unpack_from(data, at)
    at += _TENSOR.size
    end = at + rank * 8 + length
    if rank > layout.MAX_RANK or length > layout.MAX_NAME or end > size:
        raise ProtocolError(f"a tensor has rank {rank} and a name of {length} bytes")
    shape = _DIMS[rank].unpack_from(data, at)
    for dim in shape:
        if dim < 0:
            raise ProtocolError(f"a tensor has the shape {shape}")
    label = data[end - length : end]
    name = _decoded_names.get(label) or _decode_name(label)
    return Tensor(name, dtype, shape, segment, block, offset, nbytes), end


def _encode_name(name: str) -> bytes:
    if not isinstance(name, str):
        raise SpecError(f"a name of type {type(name).__name__} cannot be sent; names are str")
    label = name.encode("utf-8", "replace")
    if len(label) > layout.MAX_NAME:
        raise SpecError(f"the name {name!r:.40}... has {len(label)} bytes; at most {layout.MAX_NAME}")
    if len(_encoded_names) < _MAX_CACHED_NAMES:
        _encoded_names[name] = label
    return label


def _decode_name(label: bytes) -> str:
    try:
        name = label.decode()
    except UnicodeDecodeError:
        raise ProtocolError("the name of a tensor is not UTF-8") from None
    if len(_decoded_names) < _MAX_CACHED_NAMES:
        _decoded_names[label] = name
    return name
