"""Plain values: two decoders of one subset of msgpack, that must agree about everything, bad bytes above all."""

from __future__ import annotations

import enum
import math
import struct
import tracemalloc
from collections import OrderedDict
from typing import Any, NamedTuple

import msgpack
import pytest
import strategies
from hypothesis import example, given
from hypothesis import strategies as st

from isopod.ipc import plain
from isopod.ipc.errors import ProtocolError, SpecError

DECODERS = [plain.unpack_pure, plain._unpack_with_library]


def outcome(decode: Any, data: bytes) -> tuple[str, str]:
    """What a decoder makes of bytes, in a form in which NaN equals itself. Anything else than ProtocolError escapes."""
    try:
        return "accepted", repr(decode(data))
    except ProtocolError:
        return "refused", ""


def test_the_application_decodes_with_the_library() -> None:
    assert vars(plain)["_library"] is msgpack


@given(strategies.plain_values)
def test_what_is_packed_comes_back_from_both_decoders(value: Any) -> None:
    data = plain.pack(value)
    for decode in DECODERS:
        assert decode(data) == value


@given(strategies.plain_values)
def test_the_bytes_are_those_of_the_library(value: Any) -> None:
    assert plain.pack(value) == msgpack.packb(value, use_bin_type=True, unicode_errors="surrogatepass")


@pytest.mark.parametrize("size", [31, 32, 255, 256, 65_535, 65_536])
def test_every_width_of_a_length(size: int) -> None:
    for value in ("x" * size, b"x" * size, [None] * size, {f"{index}": 0 for index in range(size)}):
        data = plain.pack(value)
        assert data == msgpack.packb(value)
        assert [decode(data) for decode in DECODERS] == [value, value]


@pytest.mark.parametrize("power", [5, 7, 8, 15, 16, 31, 32, 63, 64])
def test_every_width_of_an_integer(power: int) -> None:
    for value in {side * 2**power + step for side in (1, -1) for step in (-1, 0, 1)}:
        if -(2**63) <= value < 2**64:
            assert [decode(plain.pack(value)) for decode in DECODERS] == [value, value]
        else:
            with pytest.raises(SpecError, match=f"{value} does not fit into 64 bits"):
                plain.pack(value)


@given(st.binary(max_size=60))
@example(b"")
@example(b"\xc1")
@example(b"\x81\xc4\x01a\x00")  # bytes as a key
@example(b"\x81\x90\x00")  # a list as a key
@example(b"\xc7\x00\x05")  # an extension of no bytes
@example(b"\xd6\xff\x00\x00\x00\x00")  # a timestamp
@example(b"\xa1\xff")  # no UTF-8
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\xdf\xff\xff\xff\xff")
@example(b"\xdb\xff\xff\xff\xff")
@example(b"\xc0\xc0")
def test_on_any_bytes_the_decoders_agree(data: bytes) -> None:
    assert outcome(plain.unpack_pure, data) == outcome(plain._unpack_with_library, data)


@given(strategies.plain_values, st.data())
def test_on_damaged_values_the_decoders_agree(value: Any, data: st.DataObject) -> None:
    damaged = bytearray(plain.pack(value))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    assert outcome(plain.unpack_pure, cut) == outcome(plain._unpack_with_library, cut)


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize(
    ("data", "fact"),
    [
        (b"", "plain value"),
        (plain.pack([1, "two"])[:-1], "plain value"),
        (b"\xc0\xc0", "plain value"),
        (msgpack.packb(msgpack.ExtType(1, b"code")), "plain value"),
        (msgpack.packb(msgpack.Timestamp(1)), "plain value"),
        (msgpack.packb({1: 2}), "key"),
        (msgpack.packb({b"a": 2}), "key"),
        (b"\x91" * 33 + b"\xc0", "deep"),
        (b"\xdd" + struct.pack(">I", 65_537) + b"\xc0" * 65_537, "65537|malformed"),
        (b"\x91" * 5000 + b"\xc0", "plain value|too deep"),
    ],
    ids=["empty", "cut", "trailing", "extension", "timestamp", "int key", "bytes key", "deep", "long", "very deep"],
)
def test_hostile_values_are_refused(decode: Any, data: bytes, fact: str) -> None:
    with pytest.raises(ProtocolError, match=fact):
        decode(data)
    assert decode(plain.pack({"still": "works"})) == {"still": "works"}


@pytest.mark.parametrize("decode", DECODERS)
def test_a_short_value_that_claims_to_be_long_takes_no_memory(decode: Any) -> None:
    data = b"\xdd\x00\x00\xff\xff" * 30 + b"\xdb\xff\xff\xff\xff"
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError):
            decode(data)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_the_deepest_value_is_refused_by_packing_too() -> None:
    deep: Any = None
    for _ in range(plain.MAX_DEPTH):
        deep = [deep]
    for decode in DECODERS:
        assert decode(plain.pack(deep)) == deep
    with pytest.raises(SpecError, match="more than 32 deep"):
        plain.pack([deep])


def test_a_value_within_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(SpecError, match="deep"):
        plain.pack(loop)


class Colour(enum.IntEnum):
    RED = 1


class Word(str, enum.Enum):
    YES = "yes"


class Point(NamedTuple):
    x: int
    y: int


class Wrapped(dict[str, int]):
    pass


@pytest.mark.parametrize(
    ("value", "heart"),
    [
        (Colour.RED, 1),
        (Point(1, 2), [1, 2]),
        (OrderedDict(a=1), {"a": 1}),
        (Wrapped(a=1), {"a": 1}),
        (bytearray(b"x"), b"x"),
        (memoryview(b"x"), b"x"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_relatives_of_plain_types_travel_as_what_they_are(value: Any, heart: Any) -> None:
    assert plain.unpack_pure(plain.pack(value)) == heart


def test_an_enum_of_str_travels_as_its_value() -> None:
    assert plain.unpack_pure(plain.pack(Word.YES)) == "yes"


@pytest.mark.parametrize(
    ("value", "fact"),
    [
        ({1: 2}, "dict key of type int"),
        ({"a": {None: 2}}, "dict key of type NoneType"),
        ({1, 2}, r"builtins\.set"),
        (object(), r"builtins\.object"),
        (1j, r"builtins\.complex"),
        ([0] * 65_537, "65537 items"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_not_plain_is_refused_by_name(value: Any, fact: str) -> None:
    with pytest.raises(SpecError, match=fact):
        plain.pack(value)


def test_floats_cross_bit_by_bit() -> None:
    for value in (0.0, -0.0, math.inf, -math.inf, math.nan, 5e-324):
        for decode in DECODERS:
            assert struct.pack(">d", decode(plain.pack(value))) == struct.pack(">d", value)
    for decode in DECODERS:
        assert decode(b"\xca" + struct.pack(">f", 1.5)) == 1.5  # we never write it, others may
