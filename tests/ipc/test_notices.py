"""Notices, over real shared memory: both sides see the same words, and they overlap nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from isopod.ipc import ring
from isopod.ipc.layout import Layout
from isopod.ipc.notices import Cancellations, Progress
from isopod.ipc.segment import Segment

SMALL = Layout(slots=4, slot_size=128, returns=8)


@contextlib.contextmanager
def control() -> Iterator[Segment]:
    made = Segment.create(SMALL.size)
    ring.format_control(made, SMALL)
    yield made
    made.close()


def test_progress_is_seen_by_the_other_side() -> None:
    with control() as segment:
        writer, reader = Progress(segment), Progress(segment)
    assert (reader.begun, reader.attentive) == (0, 0)
    writer.begun, writer.attentive = 7, 2**64 - 1
    assert (reader.begun, reader.attentive) == (7, 2**64 - 1)


@given(st.integers(0, 100), st.integers(1, 2**64 - 1))
def test_a_mark_speaks_of_one_call_alone(record: int, call: int) -> None:
    with control() as segment:
        mine, its = Cancellations(segment, SMALL), Cancellations(segment, SMALL)
        assert not its.holds(record, call)
        mine.mark(record, call)
        assert its.holds(record, call)
        assert not its.holds(record, call - 1)
        assert not its.holds(record + 1, call)


def test_notices_lie_apart_from_everything_else() -> None:
    with control() as segment:
        _check_apart(segment)


def _check_apart(segment: Segment) -> None:
    writer, reader = ring.RecordWriter(segment, SMALL), ring.RecordReader(segment, SMALL)
    returning, returned = ring.ReturnWriter(segment, SMALL, segment), ring.ReturnReader(segment, SMALL, segment)
    progress, cancellations = Progress(segment), Cancellations(segment, SMALL)
    progress.begun = progress.attentive = 2**64 - 1
    for slot in range(SMALL.slots):
        cancellations.mark(slot, 2**64 - 1)
    assert ring.read_control(segment) == SMALL
    assert not reader.ready()
    assert not returned.ready()
    for number in range(SMALL.slots):
        assert writer.write(b"\xff" * SMALL.payload) == number
    returning.waiting.extend((1, block) for block in range(SMALL.returns))
    assert returning.flush()
    assert [reader.read() for _ in range(SMALL.slots)] == [b"\xff" * SMALL.payload] * SMALL.slots
    assert len(list(returned.take())) == SMALL.returns
    assert (progress.begun, progress.attentive) == (2**64 - 1, 2**64 - 1)
    assert all(cancellations.holds(slot, 2**64 - 1) for slot in range(SMALL.slots))
