"""Inputs and outputs as a pod's ``config.json`` lists them, read into ``TensorSpec`` and written back.

``{"name": "x", "dtype": "float32", "shape": ["batch", null, 3]}``: a dimension is a size, null for any, or a symbol,
whose uses must agree in one call. Neuropod's dtypes and ours; its ``string`` is our ``text``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from isopod.ipc import tensor
from isopod.ipc.errors import SpecError
from isopod.ipc.spec import Dim, TensorSpec
from isopod.runtime.problems.check import Check

TEXT = "text"
_STRING = "string"
_NUMBERS = frozenset((*tensor.NUMERIC.values(), *tensor.EXTENDED.values()))
_MOST_DIMS = 32
_FIELDS = frozenset(("name", "dtype", "shape"))


def read(entries: object, where: str, *, required: bool = True) -> tuple[TensorSpec, ...]:
    """Raises ``SpecError`` that begins with ``where``, for entries of another form or that contradict each other."""
    if not isinstance(entries, (list, tuple)):
        raise SpecError(f"{where} is not a list of inputs or outputs")
    found: dict[str, TensorSpec] = {}
    for entry in entries:
        one = _read_one(entry, where, required)
        if one.name in found:
            raise SpecError(f"{where}: {one.name!r} is in it twice")
        found[one.name] = one
    return tuple(found.values())


def given(items: Iterable[TensorSpec | Mapping[str, Any]], where: str) -> tuple[TensorSpec, ...]:
    """The same for what a caller gives: ``TensorSpec``, or dicts in which a dtype may be numpy's own, too."""
    entries = []
    for item in items:
        entry: Mapping[str, Any] = item._asdict() if isinstance(item, TensorSpec) else item
        entries.append({**entry, "dtype": dtype_name(entry["dtype"])} if "dtype" in entry else entry)
    return read(entries, where)


def write(specs: Iterable[TensorSpec]) -> list[dict[str, Any]]:
    """As they stand in ``config.json``. Raises ``SpecError`` for one that does not say its dtype and rank."""
    return [neuropod_form(spec) for spec in specs]


def neuropod_form(spec: TensorSpec) -> dict[str, Any]:
    """One of them."""
    if not spec.dtype or spec.shape is None:
        raise SpecError(f"{spec.name!r} needs a dtype and a shape to be packed: a pod says what it takes and gives")
    return {"name": spec.name, "dtype": _STRING if spec.dtype == TEXT else spec.dtype, "shape": list(spec.shape)}


def dtype_name(dtype: Any) -> str:
    """The name of a dtype in a pod: of a name (``"double"``, ``"string"``), a numpy type or a numpy dtype."""
    if isinstance(dtype, str) and dtype in (_STRING, TEXT):
        return _STRING
    if isinstance(dtype, str) and dtype in _NUMBERS:
        return dtype
    try:
        found = np.dtype(dtype)
    except TypeError:
        return str(dtype)
    return _STRING if found.kind in "UT" else found.name


def of_value(name: str, value: Any) -> TensorSpec:
    """What can be said of an input or output from one value of it: its dtype, and its rank with any size."""
    array = np.asarray(value)
    if array.dtype.kind == "O" and not all(isinstance(item, (str, bytes)) for item in array.ravel().tolist()):
        raise SpecError(f"{name!r} is no array of numbers or text, and a pod declares only those")
    dtype = TEXT if array.dtype.kind in "UOT" else dtype_name(array.dtype)
    return TensorSpec(name, dtype, (None,) * array.ndim)


def _read_one(entry: object, where: str, required: bool) -> TensorSpec:
    if not isinstance(entry, Mapping) or not entry.keys() >= _FIELDS:
        raise SpecError(f"{where}: {entry!r:.80} is not an object with name, dtype and shape")
    name, dtype, shape = entry["name"], entry["dtype"], entry["shape"]
    if not isinstance(name, str) or not name:
        raise SpecError(f"{where}: {name!r:.40} is not a name")
    if not isinstance(dtype, str) or dtype not in (_STRING, TEXT, *_NUMBERS):
        known = ", ".join(sorted(_NUMBERS))
        raise SpecError(f"{where}: {name!r} has the dtype {dtype!r:.40}; there are string, {known}")
    return TensorSpec(name, TEXT if dtype == _STRING else dtype, _shape(shape, name, where), required)


def _shape(shape: object, name: str, where: str) -> tuple[Dim, ...]:
    if not isinstance(shape, (list, tuple)) or len(shape) > _MOST_DIMS:
        raise SpecError(f"{where}: {name!r} has the shape {shape!r:.40}, not a list of at most {_MOST_DIMS} dimensions")
    for dim in shape:
        size = isinstance(dim, int) and not isinstance(dim, bool) and 0 < dim < 1 << 63
        if dim is not None and not size and not (isinstance(dim, str) and dim.strip()):
            raise SpecError(
                f"{where}: {name!r} has the dimension {dim!r:.40}; it is a positive integer, null (any) or a symbol"
            )
    return tuple(shape)


def check_values(kind: str, specs: Sequence[TensorSpec], values: Mapping[str, Any], where: str = "") -> None:
    """Hold inputs or outputs (``kind`` is "input" or "output") against what is declared, as each call of a model is.

    What is missing is no fault. Raises ``SpecError`` that begins with ``where``.
    """
    known = [spec.name for spec in specs]
    for name in values:
        if name not in known:
            raise SpecError(f"{where}there is no {kind} {name!r}; there are {', '.join(known) or 'none'}")
    _, faults = Check(kind, specs).examine(values)
    if faults:
        raise SpecError(where + "\n  ".join(faults))
