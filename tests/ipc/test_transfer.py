"""Arrays through shared memory and back: every dtype and layout, exactly one copy or none, and hostile descriptors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import strategies
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wire import OUTBOX, Wire

from isopod.ipc.errors import ArenaFull, ProtocolError, SpecError
from isopod.ipc.lent import Lent
from isopod.ipc.record import Tensor
from isopod.ipc.transfer import as_array, in_order

ONE_WIRE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.close()


def raw(array: Any) -> bytes:
    return np.ascontiguousarray(array).tobytes()


@ONE_WIRE
@given(array=strategies.numeric_arrays())
def test_numbers_come_back_bit_by_bit(wire: Wire, array: Any) -> None:
    back = wire.cross(array)
    native = array.astype(array.dtype.newbyteorder("="))
    assert back.dtype == native.dtype
    assert back.dtype.isnative
    assert back.shape == array.shape
    assert back.flags.c_contiguous
    assert back.flags.writeable
    assert raw(back) == raw(native)
    assert back.ctypes.data % 64 == 0
    del back
    assert wire.used == 0


@ONE_WIRE
@given(array=strategies.extended_arrays())
def test_bfloat16_and_float8_come_back_bit_by_bit(wire: Wire, array: Any) -> None:
    back = wire.cross(array)
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert raw(back) == raw(array)


@ONE_WIRE
@given(array=strategies.bytes_arrays())
def test_fixed_bytes_come_back(wire: Wire, array: Any) -> None:
    back = wire.cross(array)
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert raw(back) == raw(array)


@ONE_WIRE
@given(array=strategies.text_arrays())
def test_text_comes_back_in_its_kind(wire: Wire, array: Any) -> None:
    back = wire.cross(array)
    assert back.dtype.kind == array.dtype.kind
    assert back.shape == array.shape
    assert back.tolist() == array.tolist()
    assert wire.used == 0  # it was copied out at once


def test_what_is_sent_costs_one_copy_and_what_is_there_already_none(wire: Wire) -> None:
    array = np.arange(1000.0)
    wire.cross(array)
    assert wire.copied_in == array.nbytes
    there = wire.owner.empty((10, 100), np.float64, "there")
    there[:] = 1
    views = (there, there[3:], there[2:3], there.reshape(100, 10), there.view(np.int32), there[5:5], there.ravel()[7:9])
    for view in views:
        back = wire.cross(view)
        assert raw(back) == raw(view)
        there[:] += 1
        assert raw(back) == raw(view)  # one memory, seen from both sides
    assert wire.copied_in == array.nbytes
    wire.cross(there[:, ::2])
    wire.cross(there.T)
    assert wire.copied_in == array.nbytes + 500 * 8 + 1000 * 8
    assert wire.copied_out == 0


def test_arrays_of_a_foreign_segment_are_copied(wire: Wire) -> None:
    other = Wire()
    there = other.owner.empty(10, np.int64, "x")
    there[:] = range(10)
    assert wire.cross(there).tolist() == list(range(10))
    assert wire.copied_in == 80
    del there
    other.close()


def good(wire: Wire) -> Tensor:
    return wire.send(np.arange(16, dtype=np.int32))


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"segment": 9}, "segment 9 is not known"),
        ({"segment": 0xFFFF}, "is not known"),
        ({"offset": 1 << 20}, "outside of its segment"),
        ({"offset": 2**64 - 1}, "outside of its segment"),
        ({"nbytes": 1 << 21, "shape": (1 << 19,)}, "outside of its segment"),
        ({"nbytes": 2**64 - 1}, "outside of its segment"),
        ({"block": 1}, "outside of its segment"),
        ({"block": 2**63}, "outside of its segment"),
        ({"nbytes": 63}, "has 63 bytes, not 64"),
        ({"shape": (17,)}, "has 64 bytes, not 68"),
        ({"shape": (2**32, 2**32)}, "bytes"),
        ({"shape": (2**63 - 1,) * 32}, "bytes"),
        ({"shape": (0, 2**62, 2**62), "nbytes": 0}, "cannot have the shape"),
        ({"shape": (2**62, 2**62, 0), "nbytes": 0}, "cannot have the shape"),
        ({"dtype": 0}, "no dtype with the code 0"),
        ({"dtype": 42}, "offsets|text tensor"),  # an object array: only its text is ever read
        ({"dtype": 15}, "no dtype with the code 15"),
        ({"dtype": 99}, "no dtype with the code 99"),
        ({"dtype": 255}, "no dtype with the code 255"),
        ({"dtype": 43}, "offsets|text tensor"),
        ({"dtype": 40, "shape": (3,)}, "has 64 bytes"),
        ({"dtype": 40, "shape": (0, 2**62, 2**62), "nbytes": 0}, "cannot have the shape"),
        ({"segment": OUTBOX}, "was not lent"),
        ({"segment": OUTBOX, "dtype": 41}, "not its sender's"),
    ],
    ids=str,
)
def test_hostile_descriptors_are_refused(wire: Wire, changes: dict[str, Any], fact: str) -> None:
    item = good(wire)
    with pytest.raises(ProtocolError, match=fact):
        wire.receive(item._replace(**changes))
    assert wire.receive(item).tolist() == list(range(16))


@ONE_WIRE
@given(
    item=strategies.wire_tensors
    | st.builds(
        Tensor,
        st.just("x"),
        st.sampled_from([*range(48)]),
        st.lists(st.integers(0, 70), max_size=3).map(tuple),
        st.sampled_from([0, 1, OUTBOX]),
        st.integers(0, 3),
        st.integers(0, 300),
        st.integers(0, 300),
    )
)
def test_any_descriptor_is_an_array_inside_its_segment_or_an_error(wire: Wire, item: Tensor) -> None:
    good(wire)
    try:
        array = wire.receive(item)
    except ProtocolError:
        return
    assert array.shape == item.shape
    if item.dtype < 41 and array.size:
        start = array.ctypes.data - wire.attached[0].address
        assert start >= 0
        assert start + array.nbytes <= wire.attached[0].size


def test_what_was_lent_may_come_back_as_a_view_and_nothing_else_may(wire: Wire) -> None:
    """The receiver's own memory, of which the other side may speak only while it has it."""
    own = wire.owner.empty((8, 8), np.float32, "lent")
    own[:] = np.arange(64).reshape(8, 8)
    lent = Lent()
    item = wire.outbound.place("lent", own[2:6])[0]
    lent.add(item, own[2:6])
    mine = item._replace(segment=item.segment + OUTBOX)
    lent.loans = {(key[0] + OUTBOX, key[1]): loans for key, loans in lent.loans.items()}
    assert wire.receive(mine, lent).tolist() == own[2:6].tolist()
    part = mine._replace(offset=mine.offset + 32, shape=(3, 8), nbytes=96)
    assert wire.receive(part, lent).tolist() == own[3:6].tolist()
    back = wire.receive(part, lent)
    back[:] = 7
    assert own[3:6].tolist() == back.tolist()
    for wrong in (
        part._replace(offset=mine.offset - 32),
        part._replace(offset=mine.offset + 64),
        part._replace(block=mine.block + 1),
        part._replace(shape=(5, 8), nbytes=160),
    ):
        with pytest.raises(ProtocolError, match=r"was not lent|outside"):
            wire.receive(wrong, lent)
    lent.release((mine.segment, mine.block))
    with pytest.raises(ProtocolError, match="was not lent"):
        wire.receive(part, lent)
    with pytest.raises(ProtocolError, match="was returned, but it was not lent"):
        lent.release((mine.segment, mine.block))
    del back, own


def test_a_block_that_was_never_lent_cannot_be_returned(wire: Wire) -> None:
    item = good(wire)
    wire.borrowed.give_back((item.segment, item.block))
    wire.borrowed.give_back((item.segment, item.block))
    wire.borrowed.flush()
    with pytest.raises(ProtocolError, match="it was not lent"):
        wire.reclaim()
    assert wire.cross(np.ones(3)).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("shape", "dtype", "fact"),
    [
        ((-1,), "f4", r"cannot have the shape \(-1,\)"),
        ((3,), object, "cannot have the dtype object"),
        ((3,), np.dtypes.StringDType(), "cannot have the dtype"),
        ((3,), "no such dtype", "no such dtype"),
        ("wide", "f4", "wide"),
        (2.5, "f4", "2.5"),
        ((2, None), "f4", "None"),
        ((1,) * 65, "f4", "dimension"),
    ],
    ids=repr,
)
def test_an_impossible_array_is_the_callers_fault(wire: Wire, shape: Any, dtype: Any, fact: str) -> None:
    with pytest.raises(SpecError, match=fact):
        wire.owner.empty(shape, dtype, "image")
    assert wire.used == 0
    assert wire.owner.empty((2, np.int64(3)), "f4", "image").shape == (2, 3)


def test_more_than_there_is_names_the_holder(wire: Wire) -> None:
    held = wire.owner.empty(6 << 20, np.uint8, "image")
    with pytest.raises(ArenaFull, match=r"no room for 4\.0 MiB of mask .* held by image \(1 arrays, 6\.0 MiB\)"):
        wire.send(np.zeros(4 << 20, np.uint8), "mask")
    del held
    wire.send(np.zeros(4 << 20, np.uint8), "mask")


def test_a_call_that_fails_half_way_keeps_nothing(wire: Wire) -> None:
    with pytest.raises(SpecError, match="mask: dtype"):
        wire.outbound.place_all([("image", np.ones(100)), ("mask", np.zeros(3, "M8[s]"))])
    assert wire.used == 0


@pytest.mark.parametrize(
    "value", [{1, 2}, object(), print, 1j, np.random.default_rng(0)], ids=lambda value: type(value).__name__
)
def test_what_is_no_value_is_refused_by_its_type(wire: Wire, value: Any) -> None:
    with pytest.raises(SpecError, match=f"image is a .*{type(value).__qualname__}, which cannot be sent"):
        wire.outbound.place_all([("image", value)])


def test_arrays_and_plain_values_keep_their_order(wire: Wire) -> None:
    given_values = {"a": 1, "b": np.ones(2), "c": "x", "d": np.float32(3), "e": None, "f": [1, {"g": b"h"}]}
    tensors, _, plain = wire.outbound.place_all(given_values.items())
    arrays = [(item.name, wire.receive(item)) for item in tensors]
    back = in_order(dict(arrays), len(arrays), plain)
    assert list(back) == list(given_values)
    assert back["d"].shape == ()
    assert {name: value for name, value in back.items() if name not in "bd"} == {
        "a": 1, "c": "x", "e": None, "f": [1, {"g": b"h"}],
    }  # fmt: skip


@pytest.mark.parametrize(
    "values",
    [{}, 3, [3], [[0, "a"]], [["0", "a", 1]], [[0, 1, 1]], [[0, "a", 1], [1, "a", 2]], [[True, "a", 1]], [[0, "b", 1]]],
    ids=repr,
)
def test_plain_values_in_the_wrong_form_are_refused(values: Any) -> None:
    with pytest.raises(ProtocolError):
        in_order({"b": 1}, 1, {"values": values})
    assert in_order({"b": 1}, 1, {"values": [[2**63, "a", 1], [-5, "c", 2]]}) == {"c": 2, "b": 1, "a": 1}


class Showing:
    """As tensors of frameworks do: an array, if asked for one."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.array


def test_whatever_shows_itself_as_an_array_is_one() -> None:
    array = np.arange(3)
    assert as_array(array) is array
    assert as_array(Showing(array)) is array
    assert as_array(np.float32(2)).dtype == np.float32  # type: ignore[union-attr]
    assert as_array(np.ma.masked_array([1, 2])).tolist() == [1, 2]  # type: ignore[union-attr]
    assert as_array([1, 2]) is None
    assert as_array(Showing) is None
