"""Hypothesis strategies that several tests share: plain values, tensors on the wire, arrays of all that crosses."""

from __future__ import annotations

from typing import Any

import hypothesis.extra.numpy as hnp
import ml_dtypes
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from isopod.ipc import layout, record, tensor

# Machines of continuous integration stall now and then; a slow example is no fault of what is tested.
settings.register_profile("isopod", deadline=None, max_examples=50, print_blob=True)
settings.load_profile("isopod")

EXTENDED = tuple(np.dtype(getattr(ml_dtypes, name)) for name in tensor.EXTENDED.values() if hasattr(ml_dtypes, name))

text = st.text(st.characters(codec="utf-8"), max_size=12)
any_text = st.text(st.characters(), max_size=12)  # lone surrogates too
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | any_text
    | st.binary(max_size=40)
)
plain_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(any_text, inner, max_size=5),
    max_leaves=25,
)

names = st.text(st.characters(codec="utf-8"), max_size=30).filter(lambda name: len(name.encode()) <= layout.MAX_NAME)
u16, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (16, 32, 64))
wire_tensors = st.builds(
    record.Tensor,
    names,
    st.integers(0, 255),
    st.lists(st.integers(0, 2**63 - 1), max_size=layout.MAX_RANK).map(tuple),
    u16,
    u64,
    u64,
    u64,
)

numeric_dtypes = st.sampled_from([np.dtype(name) for name in tensor.NUMERIC.values()])
big_endian_dtypes = numeric_dtypes.filter(lambda dtype: dtype.itemsize > 1).map(lambda dtype: dtype.newbyteorder(">"))
shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)


@st.composite
def layouts(draw: st.DrawFn, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same values lying differently: in Fortran order, with a stride, backwards, or as they were."""
    how = draw(st.sampled_from(["plain", "fortran", "strided", "backwards", "broadcast"]))
    if how == "fortran":
        return np.asfortranarray(array)
    if array.ndim == 0:
        return array
    if how == "strided":
        wide = np.repeat(array, 2, axis=-1)
        return wide[..., ::2]
    if how == "backwards":
        return array[::-1]
    if how == "broadcast":
        return np.broadcast_to(array, (2, *array.shape))
    return array


@st.composite
def numeric_arrays(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    array = draw(hnp.arrays(draw(numeric_dtypes | big_endian_dtypes), draw(shapes)))
    return draw(layouts(array))


@st.composite
def extended_arrays(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    """bfloat16 and every float8, from their bits."""
    dtype = draw(st.sampled_from(EXTENDED))
    bits = draw(hnp.arrays(np.dtype(f"u{dtype.itemsize}"), draw(shapes)))
    return draw(layouts(bits.view(dtype)))


@st.composite
def bytes_arrays(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    width = draw(st.integers(1, 9))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=4))
    return draw(layouts(draw(hnp.arrays(np.dtype(f"S{width}"), shape))))


_wire_text = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(
    ["", "é", "🦐🦐", "a\0b", "\0", "tail\0\0", "日本語"]
)


@st.composite
def text_arrays(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    """numpy U, object arrays of str, and StringDType where this numpy has it."""
    shape = draw(shapes)
    count = int(np.prod(shape))
    items = draw(st.lists(_wire_text, min_size=count, max_size=count))
    kinds: list[Any] = [np.str_, object]
    if hasattr(np, "dtypes") and hasattr(np.dtypes, "StringDType"):
        kinds.append(np.dtypes.StringDType())
    array = np.empty(count, dtype=object)
    array[:] = items
    return draw(layouts(array.reshape(shape).astype(draw(st.sampled_from(kinds)))))
