"""The dtype table, and text packed with offsets: values to bytes and back, with nothing shared."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isopod.ipc import tensor
from isopod.ipc.errors import ProtocolError, SpecError

# Codes are part of the wire. A difference here is a new version of the protocol.
CODES = {
    1: "bool", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "uint8", 7: "uint16", 8: "uint32", 9: "uint64",
    10: "float16", 11: "float32", 12: "float64", 13: "complex64", 14: "complex128",
    20: "bfloat16", 21: "float8_e4m3fn", 22: "float8_e5m2", 23: "float8_e4m3fnuz", 24: "float8_e5m2fnuz",
    25: "float8_e4m3b11fnuz", 26: "float8_e3m4", 27: "float8_e4m3", 28: "float8_e8m0fnu",
}  # fmt: skip


def test_the_table_is_what_it_was() -> None:
    assert tensor.NUMERIC | tensor.EXTENDED == CODES
    assert (tensor.BYTES, tensor.TEXT_FIXED, tensor.TEXT_OBJECT, tensor.TEXT_VARIABLE) == (40, 41, 42, 43)


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_its_dtype_and_every_dtype_its_code(code: int) -> None:
    name = CODES[code]
    dtype = np.dtype(getattr(ml_dtypes, name)) if code in tensor.EXTENDED else np.dtype(name)
    assert tensor.dtype_of(code) == dtype
    assert tensor.code_of(np.zeros(2, dtype)) == code
    assert not tensor.is_text(code)


_FRESH = """
import numpy as np, ml_dtypes
from isopod.ipc import tensor
for code, name in tensor.EXTENDED.items():
    dtype = np.dtype(getattr(ml_dtypes, name))
    assert tensor.code_of(np.zeros(2, dtype)) == code, name
    assert tensor.dtype_of(code) == dtype
"""


def test_a_dtype_of_ml_dtypes_is_known_before_one_was_received() -> None:
    """In a fresh process: the table learns from what it sees, and must not need to have received one first."""
    done = subprocess.run([sys.executable, "-c", _FRESH], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "dtype", [np.longlong, np.ulonglong, np.intc, np.intp, ">i4", ">f8", ">c16", "=u2", "<f2"], ids=str
)
def test_other_spellings_of_a_dtype_have_its_code(dtype: Any) -> None:
    native = np.dtype(dtype).newbyteorder("=")
    assert tensor.dtype_of(tensor.code_of(np.zeros(1, dtype))) == native


@pytest.mark.parametrize(
    "dtype",
    ["longdouble", "clongdouble", "M8[s]", "m8[ns]", "V4", [("a", "i4"), ("b", "f4")], ml_dtypes.int4, ml_dtypes.uint2],
    ids=str,
)
def test_a_dtype_that_cannot_cross_is_refused_by_name(dtype: Any) -> None:
    with pytest.raises(SpecError, match="cannot be sent; use bool, int"):
        tensor.code_of(np.zeros(2, dtype))
    assert tensor.code_of(np.zeros(2, "int32")) == 4


@pytest.mark.parametrize("code", [0, 15, 19, 29, 39, 44, 255])
def test_a_code_that_is_not_in_the_table_is_refused(code: int) -> None:
    with pytest.raises(ProtocolError, match=f"no dtype with the code {code}"):
        tensor.dtype_of(code)


@pytest.mark.parametrize("code", [41, 42, 43])
def test_text_is_no_dtype_over_shared_memory(code: int) -> None:
    with pytest.raises(ProtocolError):
        tensor.dtype_of(code)


def test_without_ml_dtypes_a_tensor_of_it_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    monkeypatch.setattr(tensor, "_dtypes", dict(tensor._dtypes))
    tensor._dtypes.pop(20, None)
    with pytest.raises(SpecError, match="bfloat16 arrived; add a recent ml_dtypes"):
        tensor.dtype_of(20)
    assert tensor.dtype_of(11) == np.float32


@given(st.sampled_from(list(tensor.NUMERIC)), st.lists(st.integers(0, 2**62), max_size=4), st.integers(0, 2**63))
def test_shape_dtype_and_size_must_agree(code: int, dims: list[int], nbytes: int) -> None:
    shape = tuple(dims)
    itemsize = tensor.dtype_of(code).itemsize
    right = tensor.item_count(shape) * itemsize
    assert tensor.checked_dtype(code, shape, right) == tensor.dtype_of(code)
    if nbytes != right:
        with pytest.raises(ProtocolError, match="bytes, not"):
            tensor.checked_dtype(code, shape, nbytes)


def test_bytes_have_the_width_that_their_size_says() -> None:
    assert tensor.checked_dtype(tensor.BYTES, (2, 3), 30) == np.dtype("S5")
    with pytest.raises(ProtocolError, match="has 31 bytes"):
        tensor.checked_dtype(tensor.BYTES, (2, 3), 31)
    with pytest.raises(ProtocolError, match="has 31 bytes"):
        tensor.checked_dtype(tensor.BYTES, (0, 3), 31)
    with pytest.raises(ProtocolError, match="4294967296 bytes"):
        tensor.dtype_of(tensor.BYTES, 2**32)  # numpy ends at 2 GiB an item


def packed(items: list[str], code: int = tensor.TEXT_OBJECT) -> np.ndarray[Any, Any]:
    array = np.empty(len(items), object)
    array[:] = items
    return tensor.unpack_text(code, array.shape, tensor.pack_text(array, "x"))


WIRE_TEXT = st.text(st.characters(codec="utf-8"), max_size=20)


@given(st.lists(WIRE_TEXT, max_size=10))
def test_text_comes_back_exactly(items: list[str]) -> None:
    assert packed(items).tolist() == items
    assert packed(items, tensor.TEXT_VARIABLE).tolist() == items
    assert packed(items, tensor.TEXT_FIXED).tolist() == [item.rstrip("\0") for item in items]  # numpy's U drops them


@given(st.lists(WIRE_TEXT, max_size=10))
def test_text_takes_an_offset_and_its_utf8(items: list[str]) -> None:
    array = np.empty(len(items), object)
    array[:] = items
    data = tensor.pack_text(array, "x")
    assert len(data) == 8 * (len(items) + 1) + sum(len(item.encode()) for item in items)


@pytest.mark.parametrize(
    ("value", "fact"),
    [
        (5, "holds a value of type int"),
        (None, "holds a value of type NoneType"),
        (b"bytes", "holds a value of type bytes"),
        (["list"], "holds a value of type list"),
        (float("nan"), "holds a value of type float"),
        ("lone \ud800 surrogate", "not valid Unicode"),
    ],
    ids=repr,
)
def test_what_is_not_text_is_refused(value: Any, fact: str) -> None:
    array = np.empty(2, object)
    array[0], array[1] = "text", value
    with pytest.raises(SpecError, match=f"labels .*{fact}"):
        tensor.pack_text(array, "labels")
    array[1] = "more"
    assert tensor.unpack_text(tensor.TEXT_OBJECT, (2,), tensor.pack_text(array, "labels")).tolist() == ["text", "more"]


def text_bytes(offsets: list[int], text: bytes) -> bytes:
    return np.array(offsets, "<u8").tobytes() + text


@pytest.mark.parametrize("code", [tensor.TEXT_FIXED, tensor.TEXT_OBJECT, tensor.TEXT_VARIABLE])
@pytest.mark.parametrize(
    ("shape", "data"),
    [
        ((2,), b""),
        ((2,), text_bytes([0, 1], b"a")),
        ((2,), text_bytes([1, 1, 2], b"ab")),
        ((2,), text_bytes([0, 2, 1], b"ab")),
        ((2,), text_bytes([0, 1, 3], b"ab")),
        ((2,), text_bytes([0, 1, 2**64 - 1], b"ab")),
        ((2,), text_bytes([0, 1, 1], b"ab")),
        ((1,), text_bytes([0, 1], b"\xff")),
        ((2,), text_bytes([0, 1, 2], "é".encode())),
        ((1,), text_bytes([0, 3], b"\xed\xa0\x80")),  # a surrogate
        ((2**40,), text_bytes([0], b"")),
        ((2**62, 2**62), text_bytes([0], b"")),
        ((0, 2**62), text_bytes([0], b"")),
        ((2**62, 0, 2**62), text_bytes([0], b"")),
    ],
    ids=range(14),
)
def test_hostile_text_is_refused(code: int, shape: tuple[int, ...], data: bytes) -> None:
    with pytest.raises(ProtocolError):
        tensor.unpack_text(code, shape, data)
    assert tensor.unpack_text(code, (1,), text_bytes([0, 1], b"a")).tolist() == ["a"]


@given(st.lists(st.integers(0, 4), max_size=3).map(tuple), st.binary(max_size=60))
def test_any_bytes_are_text_or_a_protocol_error(shape: tuple[int, ...], data: bytes) -> None:
    try:
        array = tensor.unpack_text(tensor.TEXT_OBJECT, shape, data)
    except ProtocolError:
        return
    assert array.shape == shape
