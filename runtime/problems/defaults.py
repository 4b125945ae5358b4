"""Defaults of inputs: kept as plain values, which compare and hash, and sent as arrays of the declared dtype."""

from __future__ import annotations

from typing import Any

import numpy as np

from isopod.ipc.errors import ProtocolError, SpecError
from isopod.ipc.spec import Dim
from isopod.ipc.tensor import EXTENDED, NUMERIC, dtype_of
from isopod.ipc.transfer import as_array

_CODES = {name: code for code, name in (*NUMERIC.items(), *EXTENDED.items())}
# Which kinds of values, as numpy sees them, a dtype of a kind takes: what they mean must not change.
_TAKES = {"b": "b", "i": "iu", "u": "iu", "f": "iuf", "V": "iuf", "c": "iufc", "text": "U", "bytes": "S"}


def plain_default(label: str, value: Any) -> Any:
    """The value as numbers, text or nested tuples. Raises ``SpecError`` for what is neither plain nor an array."""
    array = as_array(value)
    if array is not None:
        value = array.tolist()
    if isinstance(value, list | tuple):
        return tuple(plain_default(label, item) for item in value)
    if not isinstance(value, bool | int | float | complex | str | bytes):
        kind = type(value).__name__
        raise SpecError(f"{label}: its default is of type {kind}; give a number, text, or an array of them")
    return value


def numeric_dtype(name: str) -> np.dtype[Any] | None:
    """The numpy dtype of a name in the table; None for text, bytes, and where it needs ``ml_dtypes``, which is not
    there.
    """
    try:
        return dtype_of(_CODES[name]) if name in _CODES else None
    except (SpecError, ProtocolError):
        return None


def default_array(label: str, default: Any, dtype: str, shape: tuple[Dim, ...] | None) -> Any:
    """What is sent for a default: a read-only array, or the plain value where no dtype is declared.

    Raises ``SpecError`` where it does not fit the dtype or the shape.
    """
    if not dtype:
        if isinstance(default, tuple) or shape not in (None, ()):
            raise SpecError(f"{label}: a default that is an array needs a dtype")
        return default
    array = _converted(label, default, dtype)
    if shape is not None and not _fits(array.shape, shape):
        raise SpecError(f"{label}: its default has the shape {array.shape}, which does not fit {shape}")
    array.flags.writeable = False
    return array


def _converted(label: str, default: Any, dtype: str) -> np.ndarray[Any, Any]:
    wrong = f"{label}: its default {default!r:.60} is not of dtype {dtype}"
    target = numeric_dtype(dtype)
    if target is None and dtype not in _TAKES:
        raise SpecError(f"{label}: a default of dtype {dtype} needs ml_dtypes in the application: add it")
    try:
        given = np.asarray(default)
        if given.size and given.dtype.kind not in _TAKES[dtype if target is None else target.kind]:
            raise SpecError(wrong)
        with np.errstate(all="ignore"):
            array = np.array(given, target)
    except SpecError:
        raise
    except (ValueError, OverflowError, TypeError) as error:  # lists of several lengths, numbers out of range
        raise SpecError(f"{wrong}: {error}") from None
    if target is not None and given.size and not _keeps(given, array):
        raise SpecError(f"{wrong}: it is out of its range")
    return array


def _keeps(given: np.ndarray[Any, Any], array: np.ndarray[Any, Any]) -> bool:
    """Whether whole numbers are the same, and finite ones finite. A fraction may be rounded."""
    if array.dtype.kind in "biu":
        return bool(given.tolist() == array.tolist())
    widened = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
    return bool((np.isfinite(widened) | ~np.isfinite(given)).all())


def _fits(sizes: tuple[int, ...], shape: tuple[Dim, ...]) -> bool:
    """Whether sizes are of a shape: the same rank, the same fixed sizes, one size a symbol."""
    known: dict[str, int] = {}
    if len(sizes) != len(shape):
        return False
    return all(
        dim is None or size == (known.setdefault(dim, size) if isinstance(dim, str) else dim)
        for size, dim in zip(sizes, shape, strict=True)
    )
