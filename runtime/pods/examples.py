"""Examples in a pod: inputs, and what the model gives for them, without a pickle. One with outputs is a self-test.

``examples/NAME.json`` says what is there, ``examples/NAME.npz`` holds the arrays. An entry of the JSON is
``{"array": KEY}`` (with ``"dtype"`` for one that numpy itself does not have), ``{"text": [...], "shape": [...]}``, or
``{"value": ...}`` for plain values. What is read is checked as if somebody hostile had written it.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from isopod.ipc import tensor
from isopod.ipc.errors import ProtocolError, SpecError

from . import layout
from .archive import Archive, Limits
from .contents import Contents, Folder, read_text
from .documents import parse_json

RTOL, ATOL = 1e-5, 1e-8
_EXTENDED = {name: code for code, name in tensor.EXTENDED.items()}
_LIMITS = Limits(files=1000, size=8 << 30)
_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Example:
    """``outputs`` is None for one that only shows what goes in. Two numbers agree within ``rtol`` and ``atol``."""

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any] | None = None
    description: str = ""
    rtol: float = RTOL
    atol: float = ATOL


def names(contents: Contents) -> list[str]:
    """Those that a pod has."""
    paths = [PurePosixPath(name) for name in contents.sizes]
    return sorted(path.stem for path in paths if str(path.parent) == layout.EXAMPLES and path.suffix == ".json")


def about(contents: Contents, name: str) -> dict[str, Any]:
    """What can be said of one without reading its arrays. Raises ``SpecError``."""
    document = _document(contents, name)
    return {
        "name": name,
        "description": str(document.get("description", "")),
        "inputs": sorted(document["inputs"]),
        "outputs": None if document["outputs"] is None else sorted(document["outputs"]),
    }


def read(folder: Path, name: str) -> Example:
    """An example of a pod that is unpacked. Raises ``SpecError``."""
    contents = Folder(folder)
    document = _document(contents, name)
    where = f"{folder}: example {name!r}"
    with contextlib.ExitStack() as stack:
        arrays = None
        if f"{layout.EXAMPLES}/{name}.npz" in contents.sizes:
            arrays = stack.enter_context(contextlib.closing(Archive(folder / layout.EXAMPLES / f"{name}.npz", _LIMITS)))
        inputs, outputs = (
            None if entries is None else {key: _decoded(entry, arrays, where) for key, entry in entries.items()}
            for entries in (document["inputs"], document["outputs"])
        )
    rtol, atol = (_tolerance(document, key, usual, where) for key, usual in (("rtol", RTOL), ("atol", ATOL)))
    return Example(inputs or {}, outputs, str(document.get("description", "")), rtol, atol)


def write(folder: Path, name: str, example: Example) -> None:
    """Write one below ``folder``. Raises ``SpecError`` for a value that is neither array nor plain."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    document = {
        "description": example.description,
        "inputs": _encoded("inputs", example.inputs, arrays),
        "outputs": None if example.outputs is None else _encoded("outputs", example.outputs, arrays),
        "rtol": example.rtol,
        "atol": example.atol,
    }
    place = folder / layout.EXAMPLES
    place.mkdir(exist_ok=True)
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False, sort_keys=True)
    (place / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")
    if arrays:
        with zipfile.ZipFile(place / f"{name}.npz", "w", zipfile.ZIP_DEFLATED) as out:
            for key, array in arrays.items():
                stream = io.BytesIO()
                np.lib.format.write_array(stream, array, allow_pickle=False)
                info = zipfile.ZipInfo(f"{key}.npy", _DATE)
                info.compress_type = zipfile.ZIP_DEFLATED
                out.writestr(info, stream.getvalue())


def _document(contents: Contents, name: str) -> dict[str, Any]:
    path = f"{layout.EXAMPLES}/{name}.json"
    where = f"{contents.place}: {path}"
    document = parse_json(read_text(contents, path), where)
    wrong = not isinstance(document, dict) or not isinstance(document.get("inputs"), dict)
    if wrong or not isinstance(document.setdefault("outputs", None), (dict, type(None))):
        raise SpecError(f"{where} does not say inputs and outputs")
    return dict(document)


def _tolerance(document: Mapping[str, Any], key: str, usual: float, where: str) -> float:
    value = document.get(key, usual)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise SpecError(f"{where}: {key} is {value!r:.40}, not a number from 0 on")
    return float(value)


def _encoded(side: str, values: Mapping[str, Any], arrays: dict[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    return {
        name: _encoded_one(f"{side}.{name}", value, f"{side}-{len(arrays)}", arrays) for name, value in values.items()
    }


def _encoded_one(label: str, value: Any, key: str, arrays: dict[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    if not isinstance(value, (np.ndarray, np.generic)):
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            raise SpecError(f"{label} is a {type(value).__name__}: give an array, or what JSON can say") from None
        return {"value": value}
    array = np.asarray(value)
    code = tensor.code_of(array)
    if tensor.is_text(code):
        tensor.pack_text(array, label)  # for what it refuses: an object array that holds something else
        return {"text": array.ravel().tolist(), "shape": list(array.shape)}
    extended = tensor.EXTENDED.get(code)
    plain = np.ascontiguousarray(array).reshape(array.shape)
    arrays[key] = plain.view(f"u{array.dtype.itemsize}") if extended else plain
    return {"array": key, "dtype": extended} if extended else {"array": key}


def _decoded(entry: Any, arrays: Archive | None, where: str) -> Any:
    try:
        if "value" in entry:
            return entry["value"]
        if "text" in entry:
            items = np.empty(len(entry["text"]), dtype=object)
            items[:] = [str(item) for item in entry["text"]]
            return items.reshape([int(dim) for dim in entry["shape"]])
        name = f"{entry['array']}.npy"
        if arrays is None or name not in arrays.sizes:
            raise SpecError(f"{where}: its array {entry['array']!r:.40} is not there")
        array: Any = _array(arrays, name, where)
        return array.view(tensor.dtype_of(_EXTENDED[entry["dtype"]])) if "dtype" in entry else array
    except (TypeError, ValueError, KeyError, ProtocolError) as error:
        if isinstance(error, SpecError):
            raise
        raise SpecError(f"{where} has a value of the wrong form: {error}") from None


def _array(arrays: Archive, name: str, where: str) -> np.ndarray[Any, Any]:
    """As ``numpy.load`` without pickles does it, but nothing is allocated that is not in the file."""
    with arrays.open(name) as stream:
        data = io.BytesIO(stream.read())
    version = np.lib.format.read_magic(data)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = header(data)
    rest = data.getvalue()[data.tell() :]
    if dtype.hasobject or dtype.kind in "UVO" or math.prod(shape) * dtype.itemsize != len(rest):
        raise SpecError(f"{where}: {name} is no plain array of numbers")
    array = np.frombuffer(rest, dtype).reshape(shape, order="F" if fortran else "C")
    return np.array(array)  # one that is its own, and can be written to
