"""One input or output of a problem: frozen values, checked when they are made.

What ``TensorSpec`` says of a model's own input or output, these say of what callers may rely on, with a default, a
tolerance and a description.
"""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from isopod.ipc import layout
from isopod.ipc.errors import SpecError
from isopod.ipc.spec import Dim, TensorSpec
from isopod.ipc.tensor import EXTENDED, NUMERIC
from isopod.runtime.problems.defaults import default_array, plain_default

DTYPES = (*NUMERIC.values(), *EXTENDED.values(), "bytes", "text")
_OTHER_NAMES = {
    "str": "text", "string": "text", "object": "text", "unicode": "text", "float": "float32", "double": "float64",
    "half": "float16", "int": "int64", "long": "int64", "byte": "uint8", "boolean": "bool",
}  # fmt: skip


@dataclass(frozen=True)
class Tolerance:
    """How far an output may be from the one that it is compared with, element by element.

    It is near enough if it is within ``atol + rtol * |reference|``, as ``numpy.isclose`` has it, or within ``ulp``
    units in the last place. All three zero: it is to be the same. NaN agrees with NaN.
    """

    rtol: float = 0.0
    atol: float = 0.0
    ulp: int = 0

    def __str__(self) -> str:
        parts = [f"{name} {value:g}" for name, value in (("atol", self.atol), ("rtol", self.rtol)) if value]
        if self.ulp:
            parts.append(f"{self.ulp} ULP")
        return ", ".join(parts) or "exact"


@dataclass(frozen=True)
class Input:
    """One input of a problem.

    ``dtype`` is a name such as ``"float32"``, ``"bool"``, ``"bfloat16"``, ``"text"`` or ``"bytes"``; empty: any.
    ``shape`` has for each dimension a size, a symbol (the same size wherever it stands) or None (any size); ``()`` is a
    scalar, None any rank. A ``default`` (a number, text, or an array) makes it optional: it is sent where the caller
    gives none. ``required=False`` without a default leaves it to the model. Raises ``SpecError``. ::

        Input("image", "uint8", ("batch", 224, 224, 3))
        Input("threshold", "float32", (), default=0.5, description="scores below it are dropped")
    """

    name: str
    dtype: str = ""
    shape: tuple[Dim, ...] | None = None
    default: Any = None
    required: bool = True
    description: str = ""

    def __post_init__(self) -> None:
        label = _check_named("input", self)
        if not isinstance(self.required, bool):
            raise SpecError(f"{label}: required is true or false, not {self.required!r}")
        if self.default is not None:
            object.__setattr__(self, "default", plain_default(label, self.default))
            object.__setattr__(self, "required", False)
            default_array(label, self.default, self.dtype, self.shape)

    def filling(self) -> Any:
        """What is sent where the caller gives none: an array of its own dtype, or a plain value; None for nothing."""
        if self.default is None:
            return None
        return default_array(f"input {self.name!r}", self.default, self.dtype, self.shape)

    @property
    def spec(self) -> TensorSpec:
        return TensorSpec(self.name, self.dtype, self.shape, self.required)


@dataclass(frozen=True)
class Output:
    """One output of a problem. ``dtype`` and ``shape`` are those of ``Input``.

    ``rtol``, ``atol`` and ``ulp`` say how far two implementations may be apart (see ``Tolerance``); with none of them
    nothing is said of that. Raises ``SpecError``. ::

        Output("scores", "float32", ("batch", 1000), rtol=1e-4, atol=1e-6)
        Output("labels", "int64", ("batch",), atol=0, description="the same, always")
    """

    name: str
    dtype: str = ""
    shape: tuple[Dim, ...] | None = None
    rtol: float | None = None
    atol: float | None = None
    ulp: int | None = None
    description: str = ""

    def __post_init__(self) -> None:
        label = _check_named("output", self)
        for name, value in (("rtol", self.rtol), ("atol", self.atol)):
            if value is not None and (not _is_number(value) or not 0 <= value < math.inf):
                raise SpecError(f"{label}: {name} is a number, 0 or more, not {value!r}")
        if self.ulp is not None and (type(self.ulp) is not int or self.ulp < 0):
            raise SpecError(f"{label}: ulp is a whole number, 0 or more, not {self.ulp!r}")

    @property
    def tolerance(self) -> Tolerance | None:
        """None where none is declared."""
        if self.rtol is None and self.atol is None and self.ulp is None:
            return None
        return Tolerance(self.rtol or 0.0, self.atol or 0.0, self.ulp or 0)

    @property
    def spec(self) -> TensorSpec:
        return TensorSpec(self.name, self.dtype, self.shape)


Field = Input | Output


def shape_text(shape: tuple[Dim, ...] | None) -> str:
    """A shape as it is written in Python, symbols without quotes: ``(batch, 3, None)``."""
    if shape is None:
        return "(...)"
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def symbols_of(fields: Iterable[Field]) -> dict[str, None]:
    """The symbols in the shapes, in order."""
    return dict.fromkeys(dim for field in fields for dim in field.shape or () if isinstance(dim, str))


def _check_named(kind: str, field: Any) -> str:
    """Check what inputs and outputs have in common, make the shape a tuple, and return how errors call it."""
    if not isinstance(field.name, str) or not field.name:
        raise SpecError(f"an {kind} has a name, which is text, not {field.name!r}")
    label = f"{kind} {field.name!r}"
    if len(field.name.encode("utf-8", "replace")) > layout.MAX_NAME:
        raise SpecError(f"{label}: its name is longer than {layout.MAX_NAME} bytes")
    if not isinstance(field.description, str):
        raise SpecError(f"{label}: its description is text, not {field.description!r}")
    object.__setattr__(field, "dtype", _checked_dtype(label, field.dtype))
    object.__setattr__(field, "shape", _checked_shape(label, field.shape))
    return label


def _checked_dtype(label: str, dtype: Any) -> str:
    if isinstance(dtype, str) and (not dtype or dtype in DTYPES):
        return dtype
    if isinstance(dtype, str):
        known = _OTHER_NAMES.get(dtype.lower())
        near = [known] if known else difflib.get_close_matches(dtype.lower(), DTYPES, 1, 0.5)
        meant = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(DTYPES)}"
        raise SpecError(f"{label}: there is no dtype {dtype!r}{meant}")
    try:
        found = np.dtype(dtype)  # np.float32, or a dtype
    except TypeError:
        raise SpecError(f"{label}: a dtype is a name such as 'float32', not {dtype!r}") from None
    name = {"U": "text", "T": "text", "S": "bytes"}.get(found.kind, found.newbyteorder("=").name)
    return _checked_dtype(label, name)


def _checked_shape(label: str, shape: Any) -> tuple[Dim, ...] | None:
    if shape is None:
        return None
    if not isinstance(shape, tuple | list):
        raise SpecError(f"{label}: a shape is a tuple such as ('batch', 3, None), not {shape!r}")
    if len(shape) > layout.MAX_RANK:
        raise SpecError(f"{label}: its shape has {len(shape)} dimensions; at most {layout.MAX_RANK}")
    return tuple(_checked_dim(label, dim) for dim in shape)


def _checked_dim(label: str, dim: Any) -> Dim:
    if dim is None:
        return None
    if isinstance(dim, str):
        if not dim.isidentifier():
            raise SpecError(
                f"{label}: {dim!r} is no symbol for a size; that is a name such as 'batch', of letters, digits and _"
            )
        return dim
    try:
        size = -1 if isinstance(dim, bool | np.bool_) else operator.index(dim)
    except TypeError:
        size = -1
    if not 0 <= size < 1 << 63:
        raise SpecError(f"{label}: {dim!r} is no size: give a whole number, 0 or more, a symbol, or None for any size")
    return size


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
