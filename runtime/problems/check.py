"""The check of one call's values against what is declared, compiled once: names, dtypes, ranks, sizes, symbols.

A call that is as it should be is seen to be so by ``fits``, which knows only that one answer and takes about half a
microsecond an array. Everything else, plain values, casts and faults, goes through ``examine``, which takes its time
and says what is wrong. What ``fits`` lets through, ``examine`` would let through unchanged; a property test holds both
against a third one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, get_args

import numpy as np

from isopod.ipc import tensor
from isopod.ipc.errors import SpecError
from isopod.ipc.spec import Dim, TensorSpec
from isopod.ipc.transfer import as_array
from isopod.runtime.problems.contract import Cast
from isopod.runtime.problems.defaults import numeric_dtype
from isopod.runtime.problems.fields import DTYPES, shape_text

_WAYS: tuple[Cast, ...] = get_args(Cast)
_KINDS = {"text": "UTO", "bytes": "S"}  # of dtypes that differ in their width, or in how they are kept
_NUMBERS = frozenset((*tensor.NUMERIC.values(), *tensor.EXTENDED.values()))
_NEVER = "none"  # no array has such a kind: it is left to ``examine``


class _Row(NamedTuple):
    """One array as ``fits`` looks at it. ``rank`` -1 is any; ``symbols`` are (axis, number of the symbol)."""

    name: str
    dtype: np.dtype[Any] | None
    kinds: str
    rank: int
    fixed: tuple[tuple[int, int], ...]
    symbols: tuple[tuple[int, int], ...]


class Check:
    """``kind`` is "input" or "output", for messages. Symbols in ``bound`` have sizes that are given with each call.

    ``numbers`` has the place of each symbol that has to agree with anything, in a list of sizes such as ``unknown``,
    which has -1 for those that are not known.
    """

    def __init__(self, kind: str, specs: Sequence[TensorSpec], cast: Cast | None = None, bound: Sequence[str] = ()):
        self._kind = kind
        self._specs = tuple(specs)
        self._cast = cast
        uses = [dim for spec in specs for dim in spec.shape or () if isinstance(dim, str)]
        # one that stands in one place, and nowhere else, is any size
        self.numbers = {
            dim: n for n, dim in enumerate(d for d in dict.fromkeys(uses) if uses.count(d) > 1 or d in bound)
        }
        self.unknown = [-1] * len(self.numbers)
        self._rows = [self._row(spec) for spec in specs if _says(spec)]

    def _row(self, spec: TensorSpec) -> _Row:
        dtype, kinds = numeric_dtype(spec.dtype), _KINDS.get(spec.dtype, "")
        if dtype is None and spec.dtype in DTYPES and not kinds:
            kinds = _NEVER
        dims = list(enumerate(spec.shape or ()))
        fixed = tuple((axis, dim) for axis, dim in dims if isinstance(dim, int))
        symbols = tuple((axis, self.numbers[dim]) for axis, dim in dims if dim in self.numbers and dim is not None)
        return _Row(spec.name, dtype, kinds, -1 if spec.shape is None else len(spec.shape), fixed, symbols)

    def fits(self, values: Mapping[str, Any], bound: list[int] | None = None) -> bool:
        """Whether all of them are arrays just as declared. False may also mean that it has to be looked at closely."""
        sizes = (self.unknown if bound is None else bound)[:]
        for name, dtype, kinds, rank, fixed, symbols in self._rows:
            value = values.get(name)
            if type(value) is not np.ndarray:
                return False
            found = value.dtype
            if dtype is None:
                if kinds and found.kind not in kinds:
                    return False
            elif found is not dtype and found != dtype:
                return False
            shape = value.shape
            if len(shape) != rank != -1:
                return False
            for axis, size in fixed:
                if shape[axis] != size:
                    return False
            for axis, number in symbols:
                size = shape[axis]
                if sizes[number] != size:
                    if sizes[number] != -1:
                        return False
                    sizes[number] = size
        return True

    def examine(self, values: Mapping[str, Any], bound: list[int] | None = None) -> tuple[dict[str, Any], list[str]]:
        """What is to be sent instead of some of the values, and what is wrong, each in a sentence.

        Raises nothing. A value that is absent is passed over.
        """
        instead: dict[str, Any] = {}
        faults: list[str] = []
        given = {} if bound is None else {symbol: bound[number] for symbol, number in self.numbers.items()}
        known = {symbol: (size, "the inputs") for symbol, size in given.items() if size != -1}
        for spec in self._specs:
            if spec.name not in values or not _says(spec):
                continue
            value = values[spec.name]
            if not isinstance(value, np.ndarray):
                array = self._array_of(value, spec)
                if array is None:
                    fault = _plain_fault(value, spec)
                    if fault:
                        faults.append(
                            f"{self._kind} {spec.name!r} is {_told(value)}; expected {_declared(spec)}: {fault}"
                        )
                    continue
                instead[spec.name] = value = array
            before = dict(known)
            reasons, cast = self._array_faults(value, spec, known)
            if reasons:
                came = f"{_dtype_name(value)} {shape_text(value.shape)}"
                faults.append(
                    f"{self._kind} {spec.name!r} is {came}; expected {_declared(spec)}{_where(spec, before)}: "
                    + "; ".join(reasons)
                )
            elif cast is not None:
                instead[spec.name] = cast
        return instead, faults

    def _array_of(self, value: Any, spec: TensorSpec) -> Any:
        """What is no array as one, where it is to cross as one."""
        try:
            array = as_array(value)
            if array is None and self._cast is not None and isinstance(value, list | tuple) and spec.dtype:
                array = np.asarray(value)
        except Exception:  # whatever an object's __array__ raises, and lists that are no array: said by the caller
            return None
        return array

    def _array_faults(
        self, array: Any, spec: TensorSpec, known: dict[str, tuple[int, str]]
    ) -> tuple[list[str], Any | None]:
        reasons, cast = [], None
        if spec.dtype and _dtype_name(array) != spec.dtype:
            cast = self._cast_of(array, spec.dtype)
            if cast is None:
                reasons.append(self._dtype_fault(array, spec.dtype))
        if spec.shape is not None and array.ndim != len(spec.shape):
            reasons.append(f"it has {array.ndim} dimensions, not {len(spec.shape)}")
        elif spec.shape is not None:
            reasons += _size_faults(spec.name, array.shape, spec.shape, known, self._kind)
        return reasons, cast

    def _cast_of(self, array: Any, name: str) -> Any | None:
        wanted = numeric_dtype(name)
        if self._cast is None or wanted is None or not _is_numeric(array):
            return None
        return array.astype(wanted) if np.can_cast(array.dtype, wanted, self._cast) else None

    def _dtype_fault(self, array: Any, name: str) -> str:
        fault = f"its dtype is {_dtype_name(array)}, not {name}"
        wanted = numeric_dtype(name)
        if self._kind == "output" or wanted is None or not _is_numeric(array):
            return fault
        if self._cast is not None:
            return f"{fault}, and {self._cast} casting does not allow that; give x.astype({name!r})"
        way = next((way for way in _WAYS if np.can_cast(array.dtype, wanted, way)), None)
        return f"{fault}; give x.astype({name!r})" + (f", or load the model with cast={way!r}" if way else "")


def _says(spec: TensorSpec) -> bool:
    """Whether anything is declared. A model's own word for a dtype that we do not know is none."""
    return spec.dtype in DTYPES or spec.shape is not None


def _size_faults(
    name: str, shape: tuple[int, ...], declared: tuple[Dim, ...], known: dict[str, tuple[int, str]], kind: str
) -> list[str]:
    reasons = []
    for axis, (size, dim) in enumerate(zip(shape, declared, strict=True)):
        if isinstance(dim, int) and size != dim:
            reasons.append(f"dimension {axis} is {size}, not {dim}")
        elif isinstance(dim, str):
            right, who = known.setdefault(dim, (size, name))
            if size != right:
                whose = "the inputs" if who == "the inputs" and kind == "output" else f"{kind} {who!r}"
                whose = "itself" if who == name else whose
                reasons.append(f"dimension {axis} is {size}, but {dim} is {right} by {whose}")
    return reasons


def _where(spec: TensorSpec, known: Mapping[str, tuple[int, str]]) -> str:
    """The values of the symbols that are known already."""
    symbols = dict.fromkeys(dim for dim in spec.shape or () if isinstance(dim, str) and dim in known)
    told = ", ".join(f"{symbol}={known[symbol][0]}" for symbol in symbols)
    return f" with {told}" if told else ""


def _declared(spec: TensorSpec) -> str:
    dtype = spec.dtype or "any dtype"
    return dtype if spec.shape is None else f"{dtype} {shape_text(spec.shape)}"


def _told(value: Any) -> str:
    if isinstance(value, bool | int | float):
        return f"the {type(value).__name__} {value!r:.40}"
    article = "an" if type(value).__name__[0].lower() in "aeiou" else "a"
    return f"{article} {type(value).__name__}"


def _dtype_name(array: Any) -> str:
    try:
        return tensor.name_of(tensor.code_of(array))
    except SpecError:
        return str(array.dtype)


def _is_numeric(array: Any) -> bool:
    return _dtype_name(array) in _NUMBERS


def _plain_fault(value: Any, spec: TensorSpec) -> str:
    """Why a plain value is not welcome where an array is declared, or "". One number or one text is a scalar."""
    if isinstance(value, bool | int | float | str | bytes):
        if spec.shape not in (None, ()):
            return f"it is a scalar; give an array with {len(spec.shape or ())} dimensions"
        if not spec.dtype or spec.dtype not in DTYPES or _is_of(value, spec.dtype):
            return ""
        return f"it is no {spec.dtype}"
    if isinstance(value, list | tuple):
        return "only arrays have a dtype and a shape; give numpy.asarray(x, dtype), or load the model with a cast"
    return "it is no array"


def _is_of(value: Any, dtype: str) -> bool:
    """Whether a Python value can stand for a scalar of a dtype, as it does in arithmetic with arrays of it."""
    if isinstance(value, str | bytes):
        return dtype == ("text" if isinstance(value, str) else "bytes")
    if isinstance(value, bool) or dtype == "bool":
        return isinstance(value, bool) and dtype == "bool"
    if dtype.startswith(("int", "uint")):
        limits = np.iinfo(dtype)
        return isinstance(value, int) and limits.min <= value <= limits.max
    return dtype not in ("text", "bytes")
