"""Tensors as they cross: a dtype table of our own, and the conversions between arrays and bytes.

A dtype travels as a code from the table, never as text: numpy would build an object dtype over shared memory, which is
code execution. Numbers lie in memory as they are, little-endian and C-contiguous; fixed-width ``S`` bytes too. Text is
packed: ``count + 1`` offsets of 8 bytes, then UTF-8, so that an ``é`` costs two bytes and not four times the longest
string. Imported only where numpy is there: in the child, after the environment is active.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from isopod.ipc.errors import ProtocolError, SpecError

# Codes are part of the wire: never renumber.
NUMERIC = {
    1: "bool", 2: "int8", 3: "int16", 4: "int32", 5: "int64",
    6: "uint8", 7: "uint16", 8: "uint32", 9: "uint64",
    10: "float16", 11: "float32", 12: "float64", 13: "complex64", 14: "complex128",
}  # fmt: skip
EXTENDED = {
    20: "bfloat16", 21: "float8_e4m3fn", 22: "float8_e5m2", 23: "float8_e4m3fnuz", 24: "float8_e5m2fnuz",
    25: "float8_e4m3b11fnuz", 26: "float8_e3m4", 27: "float8_e4m3", 28: "float8_e8m0fnu",
}  # fmt: skip
BYTES = 40  # numpy S: fixed width, raw
TEXT_FIXED = 41  # numpy U
TEXT_OBJECT = 42  # an object array of str
TEXT_VARIABLE = 43  # numpy 2's StringDType

_FREE_EXPANSION, _MAX_EXPANSION = 64 << 20, 64  # bytes, and times: what padding may add to text of fixed width

TEXT = frozenset((TEXT_FIXED, TEXT_OBJECT, TEXT_VARIABLE))
_dtypes: dict[int, np.dtype[Any]] = {code: np.dtype(name) for code, name in NUMERIC.items()}
codes: dict[np.dtype[Any], int] = {dtype: code for code, dtype in _dtypes.items()}  # of those that cross as they are
_EXTENDED_CODES = {name: code for code, name in EXTENDED.items()}


def code_of(array: np.ndarray[Any, Any]) -> int:
    """The code of an array's dtype. Raises ``SpecError`` for a dtype that cannot cross, saying what can."""
    dtype = array.dtype
    code = codes.get(dtype)
    if code is not None:
        return code
    if dtype.kind == "S":
        return BYTES
    if dtype.kind == "U":
        return TEXT_FIXED
    if dtype.kind == "T":
        return TEXT_VARIABLE
    if dtype.kind == "O":
        return TEXT_OBJECT  # that it holds only str is seen when it is packed
    native = dtype.newbyteorder("=")
    code = codes.get(native) or (_EXTENDED_CODES.get(dtype.name) if dtype.kind in "Vf" else None)
    if code is None or dtype.fields is not None:
        raise SpecError(
            f"dtype {dtype} cannot be sent; use bool, int, uint, float, complex, bfloat16, float8, bytes or text"
        )
    if code in NUMERIC:
        return code
    codes[native] = code
    _dtypes[code] = native
    return code


def dtype_of(code: int, itemsize: int = 0) -> np.dtype[Any]:
    """The dtype of a numeric or bytes code; ``itemsize`` matters for bytes only.

    Raises ``ProtocolError`` for a code that is not in the table, ``SpecError`` where it needs ``ml_dtypes``.
    """
    dtype = _dtypes.get(code)
    if dtype is not None:
        return dtype
    if code == BYTES:
        if itemsize > 0x7FFFFFFF:
            raise ProtocolError(f"a tensor has items of {itemsize} bytes")
        return np.dtype(f"S{itemsize}")
    name = EXTENDED.get(code)
    if name is None:
        raise ProtocolError(f"there is no dtype with the code {code}")
    try:
        import ml_dtypes

        extended: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
    except (ImportError, AttributeError):
        raise SpecError(
            f"a tensor of dtype {name} arrived; add a recent ml_dtypes to this side's environment to receive it"
        ) from None
    _dtypes[code] = extended
    codes[extended] = code
    return extended


def name_of(code: int) -> str:
    """What people call the dtype of a code."""
    return "text" if is_text(code) else NUMERIC.get(code) or EXTENDED.get(code) or "bytes"


def is_text(code: int) -> bool:
    return code in TEXT


def item_count(shape: tuple[int, ...]) -> int:
    count = 1
    for dim in shape:
        count *= dim
    return count


@functools.lru_cache(maxsize=256)  # the same few come again and again; what is raised is not kept
def checked_dtype(code: int, shape: tuple[int, ...], nbytes: int) -> np.dtype[Any]:
    """The dtype of a tensor that is not text, whose shape, dtype and size must agree.

    Raises ``ProtocolError`` where they contradict one another; ``SpecError`` as ``dtype_of`` does.
    """
    count = item_count(shape)
    dtype = dtype_of(code, nbytes // count if count and code == BYTES else 1)
    if count * dtype.itemsize != nbytes:
        raise ProtocolError(f"a tensor of shape {shape} has {nbytes} bytes, not {count * dtype.itemsize}")
    return dtype


def pack_text(array: np.ndarray[Any, Any], label: str) -> bytes:
    """Offsets and UTF-8 of an array of text. Raises ``SpecError`` where an object array holds something else.

    One item after the other is not touched from Python: all are joined with a NUL between them, encoded at once, and
    where the NULs lie says how long each is. Items that hold a NUL themselves are encoded one by one.
    """
    items = array.ravel().tolist()
    try:
        data = np.frombuffer("\0".join(items).encode(), np.uint8)
    except TypeError:
        wrong = next(item for item in items if not isinstance(item, str))
        raise SpecError(
            f"{label} is an object array that holds a value of type {type(wrong).__name__}; "
            "only object arrays of str can be sent, use a numeric dtype"
        ) from None
    except UnicodeEncodeError as error:
        raise SpecError(f"{label} holds text that is not valid Unicode: {error}") from None
    offsets = np.zeros(len(items) + 1, "<u8")
    between = np.flatnonzero(data == 0)
    if len(between) == len(items) - 1:
        offsets[1:-1] = between - np.arange(len(between))
        offsets[-1] = len(data) - len(between)
        text: bytes = data[data != 0].tobytes()
        return offsets.tobytes() + text
    encoded = [item.encode() for item in items]
    np.cumsum([len(item) for item in encoded], out=offsets[1:], dtype=np.uint64)
    return offsets.tobytes() + b"".join(encoded)


def _check_expansion(nbytes: int, packed: int) -> None:
    """A fixed width is the longest text's: a megabyte on the wire could become terabytes here."""
    if nbytes > max(_FREE_EXPANSION, _MAX_EXPANSION * packed):
        raise SpecError(
            f"an array of text of fixed width would take {nbytes / (1 << 30):.1f} GiB for {packed} bytes of text; "
            "return an object array of str"
        )


def unpack_text(code: int, shape: tuple[int, ...], data: bytes) -> np.ndarray[Any, Any]:
    """The array that ``pack_text`` packed, in the kind of text it was. ``data`` is a private copy.

    Raises ``ProtocolError`` for offsets out of order or bytes that are not UTF-8.
    """
    count = item_count(shape)
    head = (count + 1) * 8
    if head > len(data):
        raise ProtocolError(f"a text tensor of shape {shape} has only {len(data)} bytes")
    offsets = np.frombuffer(data, "<u8", count + 1).astype(np.int64)
    text = np.frombuffer(data, np.uint8, len(data) - head, head)
    if offsets[0] != 0 or offsets[-1] != len(text) or (np.diff(offsets) < 0).any():
        raise ProtocolError("the offsets of a text tensor are out of order")
    try:
        items = _split(text, offsets)
    except UnicodeDecodeError as error:
        raise ProtocolError(f"a text tensor is not UTF-8: {error}") from None
    if code == TEXT_FIXED:
        _check_expansion(count * 4 * max(map(len, items), default=0), len(data))
    try:
        return _text_array(code, items).reshape(shape)
    except ValueError as error:  # a tensor without items may still claim impossible dimensions
        raise ProtocolError(f"a text tensor cannot have the shape {shape}: {error}") from None


def _split(text: np.ndarray[Any, Any], offsets: np.ndarray[Any, Any]) -> list[str]:
    """The items of a packed text: a NUL is put between them, and all are decoded and split at once."""
    count = len(offsets) - 1
    if count > 1 and text.all():
        spread = np.zeros(len(text) + count - 1, np.uint8)
        taken = np.ones(len(spread), np.bool_)
        taken[offsets[1:-1] + np.arange(count - 1)] = False
        spread[taken] = text
        return spread.tobytes().decode().split("\0")
    data, ends = text.tobytes(), offsets.tolist()
    return [data[start:end].decode() for start, end in zip(ends, ends[1:])]


def _text_array(code: int, items: list[str]) -> np.ndarray[Any, Any]:
    if code == TEXT_FIXED:
        return np.array(items, dtype=np.str_)
    string_dtype = getattr(getattr(np, "dtypes", None), "StringDType", None)
    if code == TEXT_VARIABLE and string_dtype is not None:
        return np.array(items, dtype=string_dtype())
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array
