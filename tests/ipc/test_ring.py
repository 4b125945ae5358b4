"""The two rings of a control segment, over real shared memory, both ends in this process."""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isopod.ipc import layout, ring
from isopod.ipc.errors import ProtocolError
from isopod.ipc.layout import Layout
from isopod.ipc.segment import Segment

SMALL = Layout(slots=4, slot_size=128, returns=8)


class Pair:
    """Two control segments, seen from the side that made them and from the one that attached."""

    def __init__(self, shape: Layout = SMALL) -> None:
        self.mine, self.its = Segment.create(shape.size), Segment.create(shape.size)
        for segment in (self.mine, self.its):
            ring.format_control(segment, shape)
        self.writer = ring.RecordWriter(self.mine, shape)
        self.reader = ring.RecordReader(self.mine, shape)
        self.returning = ring.ReturnWriter(self.its, shape, self.mine)
        self.returned = ring.ReturnReader(self.its, shape, self.mine)

    def close(self) -> None:
        self.mine.close()
        self.its.close()
        self.__dict__.clear()  # pytest keeps fixtures alive beyond the census, and each mapping has a descriptor


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


def test_records_go_round_many_times(pair: Pair) -> None:
    assert pair.reader.read() is None
    for number in range(10 * SMALL.slots):
        record = bytes([number % 256]) * (number % (SMALL.payload + 1))
        assert not pair.reader.ready()
        pair.writer.write(record)
        assert pair.reader.ready()
        assert pair.reader.read() == record
        assert pair.reader.read() is None


@given(st.lists(st.integers(1, SMALL.slots), max_size=30), st.data())
def test_any_interleaving_keeps_order_and_bytes(batches: list[int], data: st.DataObject) -> None:
    with contextlib.closing(Pair()) as pair:
        for batch in batches:
            sent = [data.draw(st.binary(max_size=SMALL.payload)) for _ in range(batch)]
            for record in sent:
                pair.writer.write(record)
            assert [pair.reader.read() for _ in range(batch)] == sent
        assert pair.reader.read() is None


def test_a_record_says_when_it_was_published_where_it_is_asked_to(pair: Pair) -> None:
    for number in range(SMALL.slots + 1):
        before = time.monotonic_ns()
        pair.writer.write(bytes(48), layout.SENT_WORD if number % 2 else -1)
        after = time.monotonic_ns()
        words = struct.unpack("<6Q", pair.reader.read() or b"")
        assert words[: layout.SENT_WORD] == (0,) * layout.SENT_WORD
        if number % 2:
            assert before <= words[layout.SENT_WORD] <= after
        else:
            assert words[layout.SENT_WORD] == 0


def test_an_old_record_is_not_read_again(pair: Pair) -> None:
    """The slots of the last round still hold their numbers: only the next number counts."""
    for number in range(SMALL.slots):
        pair.writer.write(bytes([number]))
    for number in range(SMALL.slots):
        assert pair.reader.read() == bytes([number])
    assert not pair.reader.ready()
    assert pair.reader.read() is None


@pytest.mark.parametrize("claimed", [SMALL.payload + 1, 0xFFFFFFFF])
def test_an_impossible_length_is_refused(pair: Pair, claimed: int) -> None:
    pair.writer.write(b"record")
    struct.pack_into("<I", pair.mine.map, layout.SLOTS_OFFSET + 8, claimed)
    with pytest.raises(ProtocolError, match=f"claims {claimed} bytes in a slot of {SMALL.payload}"):
        pair.reader.read()
    struct.pack_into("<I", pair.mine.map, layout.SLOTS_OFFSET + 8, SMALL.payload)
    assert pair.reader.read() == b"record".ljust(SMALL.payload, b"\0")


def test_a_sequence_number_out_of_turn_is_no_record(pair: Pair) -> None:
    pair.writer.write(b"record")
    for number in (0, 2, 2**64 - 1):
        struct.pack_into("<Q", pair.mine.map, layout.SLOTS_OFFSET, number)
        assert pair.reader.read() is None
    struct.pack_into("<Q", pair.mine.map, layout.SLOTS_OFFSET, 1)
    assert pair.reader.read() == b"record"


def test_a_record_that_was_read_does_not_change(pair: Pair) -> None:
    pair.writer.write(b"first")
    record = pair.reader.read()
    pair.mine.map[layout.SLOTS_OFFSET + 16 : layout.SLOTS_OFFSET + 21] = b"FIRST"
    assert record == b"first"


def test_spinning_ends_at_its_time_or_with_a_record(pair: Pair) -> None:
    turns = iter(range(1000))
    assert not pair.reader.spin(lambda: next(turns), 100)
    assert next(turns) == 102
    pair.writer.write(b"x")
    assert pair.reader.spin(time.monotonic_ns, 0)


@pytest.mark.parametrize(
    ("offset", "form", "value"),
    [(0, "<Q", 1), (8, "<I", 99), (12, "<I", 1 << 20), (16, "<I", 1 << 30), (20, "<I", 1 << 30)],
    ids=["magic", "version", "slots", "slot size", "returns"],
)
def test_a_control_segment_that_is_not_ours_is_refused(pair: Pair, offset: int, form: str, value: int) -> None:
    assert ring.read_control(pair.mine) == SMALL
    struct.pack_into(form, pair.mine.map, offset, value)
    with pytest.raises(ProtocolError, match="wrong magic, version or size"):
        ring.read_control(pair.mine)


def test_layouts_do_not_overlap_and_are_aligned() -> None:
    for shape in (SMALL, Layout()):
        assert shape.returns_offset % 8 == 0
        assert shape.slot_size % 8 == 0
        assert shape.returns_offset == layout.SLOTS_OFFSET + shape.slots * shape.slot_size
        assert shape.cancellations_offset == shape.returns_offset + 8 * shape.returns
        assert shape.size == shape.cancellations_offset + 8 * shape.slots


def test_blocks_come_back_in_order_over_many_rounds(pair: Pair) -> None:
    given_back = []
    for number in range(5 * SMALL.returns):
        pair.returning.waiting.append((number % 4096, number * 3))
        assert pair.returning.flush()
        if number % 3 == 2:
            given_back += list(pair.returned.take())
    given_back += list(pair.returned.take())
    assert given_back == [(number % 4096, number * 3) for number in range(5 * SMALL.returns)]
    assert list(pair.returned.take()) == []


def test_a_full_return_ring_waits_for_its_reader(pair: Pair) -> None:
    pair.returning.waiting.extend((1, block) for block in range(SMALL.returns + 3))
    assert not pair.returning.flush()
    assert len(pair.returning.waiting) == 3
    assert list(pair.returned.take()) == [(1, block) for block in range(SMALL.returns)]
    assert pair.returning.flush()
    assert list(pair.returned.take()) == [(1, SMALL.returns + step) for step in range(3)]


@given(st.lists(st.integers(0, 12), max_size=40))
def test_any_rhythm_of_returning_loses_nothing(rhythm: list[int]) -> None:
    sent, taken = 0, []
    with contextlib.closing(Pair()) as pair:
        for count in rhythm:
            for _ in range(count):
                pair.returning.waiting.append((7, sent))
                sent += 1
            pair.returning.flush()
            taken += [block for _, block in pair.returned.take()]
        while pair.returning.waiting:
            pair.returning.flush()
            taken += [block for _, block in pair.returned.take()]
        taken += [block for _, block in pair.returned.take()]
    assert taken == list(range(sent))


def test_the_largest_numbers_of_an_entry_survive(pair: Pair) -> None:
    entry = (layout.MAX_SEGMENTS - 1, 2**32 - 1)
    pair.returning.waiting.append(entry)
    pair.returning.flush()
    assert list(pair.returned.take()) == [entry]


def test_a_garbled_cursor_harms_only_its_writer(pair: Pair) -> None:
    """The other side may write anything there: we must neither fail nor wait for ever."""
    for value in (2**64 - 1, 2**63):
        struct.pack_into("<Q", pair.mine.map, layout.CURSOR_OFFSET, value)
        pair.returning.waiting.append((1, 1))
        assert pair.returning.flush()
