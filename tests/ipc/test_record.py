"""Ring records as bytes: what is encoded comes back, and whatever else arrives is a ProtocolError."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Mapping
from typing import Any, cast

import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from isopod.ipc import layout, plain, record
from isopod.ipc.errors import ProtocolError, SpecError
from isopod.ipc.record import Record, Tensor

KINDS = st.integers(record.CALL, record.CANCELLED)
STAMPS = st.tuples(strategies.u64, strategies.u64, strategies.u64, strategies.u64, strategies.u64)
EXTRAS = st.dictionaries(strategies.any_text, strategies.scalars, max_size=4)
TENSORS = st.lists(strategies.wire_tensors, max_size=6)

A_TENSOR = Tensor("image", 11, (2, 3), 1, 4, 256, 24)


def a_record(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "kind": record.CALL,
        "call": 7,
        "stamps": (1, 2, 3, 4, 5),
        "tensors": [A_TENSOR],
        **changes,
    }
    return record.encode(**fields)


@given(KINDS, strategies.u64, STAMPS, TENSORS, EXTRAS, st.booleans())
def test_what_is_encoded_comes_back(
    kind: int, call: int, stamps: record.Stamps, tensors: list[Tensor], extra: dict[str, Any], spilled: bool
) -> None:
    data = record.encode(kind, call, stamps, tensors, extra, record.SPILLED if spilled else 0)
    assert record.decode(data) == Record(kind, call, stamps, tuple(tensors), extra, spilled)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_record_or_a_protocol_error(data: bytes) -> None:
    check_sound_or_refused(data)


@given(KINDS, TENSORS, EXTRAS, st.data())
def test_damaged_records_are_a_record_or_a_protocol_error(
    kind: int, tensors: list[Tensor], extra: dict[str, Any], data: st.DataObject
) -> None:
    damaged = bytearray(record.encode(kind, 7, (1, 2, 3, 4, 5), tensors, extra))
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    check_sound_or_refused(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))


def check_sound_or_refused(data: bytes) -> None:
    try:
        decoded = record.decode(data)
    except ProtocolError:
        return
    assert all(dim >= 0 for item in decoded.tensors for dim in item.shape)
    assert len(decoded.tensors) <= layout.MAX_TENSORS
    assert isinstance(decoded.plain, Mapping)  # one that cannot be written to where there is nothing


@given(TENSORS, EXTRAS, st.binary(min_size=1, max_size=8))
def test_nothing_may_follow_a_record(tensors: list[Tensor], extra: dict[str, Any], more: bytes) -> None:
    with pytest.raises(ProtocolError):
        record.decode(record.encode(record.CALL, 7, (1, 2, 3, 4, 5), tensors, extra) + more)


def patched(offset: int, form: str, value: int, data: bytes | None = None) -> bytes:
    changed = bytearray(a_record() if data is None else data)
    struct.pack_into(form, changed, offset, value)
    return bytes(changed)


HEADER = record._HEADER.size


@pytest.mark.parametrize(
    ("data", "fact"),
    [
        (b"", "0 bytes is too short"),
        (a_record()[: HEADER - 1], "too short"),
        (patched(0, "<B", 0), "impossible header"),
        (patched(0, "<B", record.CANCELLED + 1), "impossible header"),
        (patched(1, "<B", 2), "impossible header"),
        (patched(2, "<H", layout.MAX_TENSORS + 1), "impossible header"),
        (patched(4, "<I", layout.MAX_PLAIN + 1), "impossible header"),
        (patched(4, "<I", 1), "bytes"),
        (patched(2, "<H", 2), "ends within a tensor"),
        (patched(HEADER + 1, "<B", 33), "rank 33"),
        (patched(HEADER + 4, "<H", 257), "name of 257 bytes"),
        (patched(HEADER + 4, "<H", 200), "name of 200 bytes"),
        (patched(HEADER + 32, "<q", -1), r"shape \(-1, 3\)"),
        (a_record()[:-1] + b"\xff", "not UTF-8"),
        (a_record()[:4] + struct.pack("<I", 1) + a_record()[8:] + b"\x90", "not a dict"),
        (a_record()[:4] + struct.pack("<I", 1) + a_record()[8:] + b"\xc1", "plain value"),
    ],
)
def test_hostile_records_are_refused(data: bytes, fact: str) -> None:
    with pytest.raises(ProtocolError, match=fact):
        record.decode(data)
    assert record.decode(a_record()).tensors == (A_TENSOR,)


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"tensors": [A_TENSOR] * (layout.MAX_TENSORS + 1)}, "4097 tensors in one call"),
        ({"tensors": [A_TENSOR._replace(name="n" * 257)]}, "257 bytes; at most 256"),
        ({"tensors": [A_TENSOR._replace(name=cast("str", 3))]}, "name of type int"),
        ({"tensors": [A_TENSOR._replace(shape=(1,) * 33)]}, "image has 33 dimensions; at most 32"),
        ({"extra": {"text": "x" * layout.MAX_PLAIN}}, "at most 262144 can be sent"),
        ({"extra": {"what": object()}}, "object"),
    ],
)
def test_what_passes_a_limit_is_not_sent(changes: dict[str, Any], fact: str) -> None:
    with pytest.raises(SpecError, match=fact):
        a_record(**changes)
    assert record.decode(a_record()).call == 7


def test_the_longest_call_fits_into_what_a_spilled_record_may_have() -> None:
    longest = [
        Tensor(f"{index:05d}" + "n" * (layout.MAX_NAME - 5), 1, (1,) * layout.MAX_RANK, 1, 1, 1, 1)
        for index in range(layout.MAX_TENSORS)
    ]
    tail = layout.MAX_PLAIN - len(plain.pack({"x": b"y" * 300})) + 300
    data = a_record(tensors=longest, extra={"x": b"y" * (tail - 2)})
    assert len(record.decode(data).tensors) == layout.MAX_TENSORS


def test_names_from_outside_do_not_fill_the_memory() -> None:
    tracemalloc.start()
    try:
        for index in range(20_000):
            record.decode(a_record(tensors=[A_TENSOR._replace(name=f"{index:0>200}")]))
        assert tracemalloc.get_traced_memory()[0] < 8 << 20
    finally:
        tracemalloc.stop()
    assert record.decode(a_record(tensors=[A_TENSOR._replace(name="fresh")])).tensors[0].name == "fresh"
