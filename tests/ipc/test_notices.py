"""Notices, over real shared memory: both sides see the same words, and they overlap nothing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest
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
        writer, reader, marks = Progress(segment), Progress(segment), Cancellations(segment, SMALL)
    assert (reader.begun, reader.attentive) == (0, 0)
    assert writer.begin(6, 1, marks)
    writer.attentive = 2**64 - 1
    assert (reader.begun, reader.attentive) == (7, 2**64 - 1)


LAST_CALL = 2**62 - 1


@given(st.integers(0, 100), st.integers(1, LAST_CALL))
def test_a_mark_speaks_of_one_call_alone(record: int, call: int) -> None:
    with control() as segment:
        mine, its = Cancellations(segment, SMALL), Cancellations(segment, SMALL)
        assert not its.holds(record, call)
        mine.mark(record, call)
        assert its.holds(record, call)
        assert not its.holds(record, call - 1)
        assert not its.holds(record + 1, call)


@given(st.integers(0, 100), st.integers(1, LAST_CALL), st.booleans())
def test_a_decided_mark_says_whether_the_call_runs(record: int, call: int, withdrawn: bool) -> None:
    with control() as segment:
        mine, its = Cancellations(segment, SMALL), Cancellations(segment, SMALL)
        assert not its.refuses(record, call)
        mine.mark(record, call)
        mine.decide(record, call, withdrawn)
        assert its.holds(record, call)
        assert its.refuses(record, call) is withdrawn
        assert Progress(segment).begin(record, call, its) is not withdrawn
        assert not its.refuses(record, call - 1)


@pytest.mark.parametrize("withdrawn", [True, False])
def test_race_undecided_mark(withdrawn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker sees a mark before it is said what it means: it waits for that word."""
    with control() as segment:
        mine, its = Cancellations(segment, SMALL), Cancellations(segment, SMALL)
        mine.mark(0, 7)
        monkeypatch.setattr(os, "sched_yield", lambda: mine.decide(0, 7, withdrawn))
        assert its.refuses(0, 7) is withdrawn


def test_a_mark_that_stays_undecided_is_not_waited_for_for_ever() -> None:
    with control() as segment:
        mine, its = Cancellations(segment, SMALL), Cancellations(segment, SMALL)
        mine.mark(0, 7)
        assert its.refuses(0, 7)


def test_notices_lie_apart_from_everything_else() -> None:
    with control() as segment:
        _check_apart(segment)


def _check_apart(segment: Segment) -> None:
    writer, reader = ring.RecordWriter(segment, SMALL), ring.RecordReader(segment, SMALL)
    returning, returned = ring.ReturnWriter(segment, SMALL, segment), ring.ReturnReader(segment, SMALL, segment)
    progress, cancellations = Progress(segment), Cancellations(segment, SMALL)
    assert progress.begin(2**64 - 2, LAST_CALL, cancellations)
    progress.attentive = 2**64 - 1
    for slot in range(SMALL.slots):
        cancellations.mark(slot, LAST_CALL)
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
    assert all(cancellations.holds(slot, LAST_CALL) for slot in range(SMALL.slots))
