"""Plain values on the wire: a strict subset of msgpack.

None, bool, int (64 bits), float, str, bytes, lists and dicts with str keys; no extension types, and caps on size and
depth, so that nothing that arrives can run code or grow out of proportion. The parent decodes with the ``msgpack``
library. A child has only its standard library at this point, so the same subset is written out here for it; a property
test holds the two against each other. Format: https://github.com/msgpack/msgpack/blob/master/spec.md
"""

from __future__ import annotations

import struct
from typing import Any, Callable

from isopod.ipc.errors import ProtocolError, SpecError

MAX_DEPTH = 32
_MAX_ITEMS = 65_536  # in one list or dict


def pack(value: Any) -> bytes:
    """Encode. Raises ``SpecError`` for a value that is not plain, naming its type."""
    parts: list[bytes] = []
    _pack_into(parts.append, value, 0)
    return b"".join(parts)


def unpack(data: bytes) -> Any:
    """Decode exactly one value. Raises ``ProtocolError`` for anything else than the subset above."""
    if _library is not None:
        return _unpack_with_library(data)
    return unpack_pure(data)


def unpack_pure(data: bytes) -> Any:
    """``unpack`` in pure Python, for the child."""
    try:
        value, end = _read(data, 0, 0)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ProtocolError(f"a plain value is cut short or malformed: {error}") from None
    if end != len(data):
        raise ProtocolError(f"{len(data) - end} bytes follow a plain value")
    return value


def _pack_into(put: Callable[[bytes], None], value: Any, depth: int) -> None:
    kind = type(value)
    if kind is str:
        data = value.encode("utf-8", "surrogatepass")
        put(_head(len(data), 0xA0, 32, b"\xd9", b"\xda", b"\xdb") + data)
    elif value is None:
        put(b"\xc0")
    elif kind is bool:
        put(b"\xc3" if value else b"\xc2")
    elif kind is int:
        put(_pack_int(value))
    elif kind is float:
        put(b"\xcb" + struct.pack(">d", value))
    elif kind in (bytes, bytearray, memoryview):
        data = bytes(value)
        put(_head(len(data), 0, 0, b"\xc4", b"\xc5", b"\xc6") + data)
    elif kind in (list, tuple, dict):
        _pack_container(put, value, depth)
    else:
        _pack_relative(put, value, depth)


def _pack_container(put: Callable[[bytes], None], value: Any, depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise SpecError(f"a plain value is nested more than {MAX_DEPTH} deep")
    if len(value) > _MAX_ITEMS:
        raise SpecError(f"a list or dict of {len(value)} items is too long to send as plain values; use an array")
    if not isinstance(value, dict):
        put(_head(len(value), 0x90, 16, b"", b"\xdc", b"\xdd"))
        for item in value:
            _pack_into(put, item, depth + 1)
        return
    put(_head(len(value), 0x80, 16, b"", b"\xde", b"\xdf"))
    for key, item in value.items():
        if type(key) is not str:
            raise SpecError(f"a dict key of type {type(key).__name__} cannot be sent; keys are str")
        _pack_into(put, key, depth + 1)
        _pack_into(put, item, depth + 1)


def _pack_relative(put: Callable[[bytes], None], value: Any, depth: int) -> None:
    """Subclasses of the plain types (enums, named tuples, OrderedDict) travel as what they are at heart."""
    for plain, heart in _HEARTS:
        if isinstance(value, plain):
            _pack_into(put, heart(value), depth)
            return
    raise SpecError(f"a value of type {type(value).__module__}.{type(value).__qualname__} cannot be sent")


# str(value) asks the subclass, and an enum of str would answer with its own name.
_HEARTS: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (str, str.__str__), (int, int), (float, float), (bytes, bytes), (list, list), (tuple, tuple), (dict, dict),
)  # fmt: skip


def _head(size: int, fixed: int, fixed_below: int, one: bytes, two: bytes, four: bytes) -> bytes:
    if size < fixed_below:
        return bytes((fixed | size,))
    if one and size < 0x100:
        return one + bytes((size,))
    if size < 0x10000:
        return two + struct.pack(">H", size)
    return four + struct.pack(">I", size)


def _pack_int(value: int) -> bytes:
    if -32 <= value < 128:
        return struct.pack("b", value)
    for code, form, low, high in _INTS:
        if low <= value <= high:
            return code + struct.pack(form, value)
    raise SpecError(f"the integer {value} does not fit into 64 bits")


_INTS = (
    (b"\xcc", ">B", 0, 0xFF),
    (b"\xcd", ">H", 0, 0xFFFF),
    (b"\xce", ">I", 0, 0xFFFFFFFF),
    (b"\xcf", ">Q", 0, 0xFFFFFFFFFFFFFFFF),
    (b"\xd0", ">b", -0x80, 0),
    (b"\xd1", ">h", -0x8000, 0),
    (b"\xd2", ">i", -0x80000000, 0),
    (b"\xd3", ">q", -0x8000000000000000, 0),
)
_NUMBERS = {0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
_NUMBERS.update({0xCA: ">f", 0xCB: ">d"})
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
# Lengths behind a code: what it is, and how its length is written.
_SIZED = {
    0xC4: ("bin", ">B"), 0xC5: ("bin", ">H"), 0xC6: ("bin", ">I"),
    0xD9: ("str", ">B"), 0xDA: ("str", ">H"), 0xDB: ("str", ">I"),
    0xDC: ("array", ">H"), 0xDD: ("array", ">I"),
    0xDE: ("map", ">H"), 0xDF: ("map", ">I"),
}  # fmt: skip


def _read(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    code = data[at]
    at += 1
    if code < 0x80:
        return code, at
    if code >= 0xE0:
        return code - 0x100, at
    if code < 0x90:
        return _read_map(data, at, code & 0x0F, depth)
    if code < 0xA0:
        return _read_array(data, at, code & 0x0F, depth)
    if code < 0xC0:
        return _read_bytes(data, at, code & 0x1F, text=True)
    if code in _CONSTANTS:
        return _CONSTANTS[code], at
    if code in _NUMBERS:
        form = _NUMBERS[code]
        return struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)
    return _read_sized(data, at, code, depth)


def _read_sized(data: bytes, at: int, code: int, depth: int) -> tuple[Any, int]:
    if code not in _SIZED:
        raise ProtocolError(f"a plain value uses the msgpack type 0x{code:02x}, which is not allowed")
    kind, form = _SIZED[code]
    size = struct.unpack_from(form, data, at)[0]
    at += struct.calcsize(form)
    if kind == "array":
        return _read_array(data, at, size, depth)
    if kind == "map":
        return _read_map(data, at, size, depth)
    return _read_bytes(data, at, size, text=kind == "str")


def _read_bytes(data: bytes, at: int, size: int, text: bool) -> tuple[Any, int]:
    end = at + size
    if end > len(data):
        raise ProtocolError("a plain value is cut short")
    piece = data[at:end]
    return (piece.decode("utf-8", "surrogatepass") if text else piece), end


def _read_array(data: bytes, at: int, size: int, depth: int) -> tuple[Any, int]:
    _check_container(size, depth)
    items = []
    for _ in range(size):
        item, at = _read(data, at, depth + 1)
        items.append(item)
    return items, at


def _read_map(data: bytes, at: int, size: int, depth: int) -> tuple[Any, int]:
    _check_container(size, depth)
    items = {}
    for _ in range(size):
        key, at = _read(data, at, depth + 1)
        if type(key) is not str:
            raise ProtocolError("a dict key is not a str")
        items[key], at = _read(data, at, depth + 1)
    return items, at


def _check_container(size: int, depth: int) -> None:
    if size > _MAX_ITEMS or depth >= MAX_DEPTH:
        raise ProtocolError(f"a list or dict is too long ({size}) or too deep ({depth})")


def _unpack_with_library(data: bytes) -> Any:
    try:
        value = _library.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            unicode_errors="surrogatepass",
            max_array_len=_MAX_ITEMS,
            max_map_len=_MAX_ITEMS,
            max_ext_len=0,
        )
    except (ValueError, _library.UnpackException, UnicodeDecodeError, TypeError) as error:
        raise ProtocolError(f"a plain value is malformed: {error}") from None
    _check_decoded(value, 0)
    return value


def _check_decoded(value: Any, depth: int) -> None:
    """What the library lets through and the subset does not: depth, bytes as keys, timestamps."""
    kind = type(value)
    if kind is list or kind is dict:
        if depth >= MAX_DEPTH:
            raise ProtocolError(f"a plain value is nested more than {MAX_DEPTH} deep")
        if kind is dict:
            for key in value:
                if type(key) is not str:
                    raise ProtocolError("a dict key is not a str")
            value = value.values()
        for item in value:
            _check_decoded(item, depth + 1)
    elif kind not in _PLAIN:
        raise ProtocolError(f"a plain value holds a {kind.__name__}")


_PLAIN = frozenset((type(None), bool, int, float, str, bytes))

try:  # the parent has it; a child, which has only its standard library when it imports this, does not
    import msgpack as _library
except ImportError:
    _library = None
