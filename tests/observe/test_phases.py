"""The phases of a call add up to the whole of it, always: by a stub clock, by any lie, and in real calls."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from observe.timelines import Timeline

import isopod
from isopod.runtime.calls import Call
from isopod.runtime.observe.phases import HEARD, MARKS, NAMES, PHASES, durations, settled
from isopod.runtime.observe.recorder import Answered, Recorder

MODELS = Path(__file__).resolve().parent.parent / "models"
U64 = st.integers(0, 2**64 - 1)


def marks_of(recorder: Recorder) -> list[list[int]]:
    return [call.marks for call in recorder.calls if isinstance(call, Answered)]


def test_each_phase_is_what_lies_between_two_marks() -> None:
    marks = [10, 11, 13, 16, 20, 25, 31, 38, 46, 55, 65, 76]
    assert len(marks) == MARKS == len(PHASES) + 1
    assert durations([marks]).tolist() == [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]]
    assert len(set(NAMES)) == len(NAMES)


def test_a_call_by_a_stub_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count(1000, 7)
    monkeypatch.setattr(time, "monotonic_ns", lambda: next(ticks))
    call = Call(0, None, None, True)
    call.asked_ns = call.submitted_ns - 5
    call.placed_ns = time.monotonic_ns()
    call.sent_ns = time.monotonic_ns()
    call.stamps = (1020, 1025, 1125, 1130, 0)
    marks = call.mark(turn_ns=900, heard_ns=1150, taken_ns=1160)
    call.handed_over()
    assert marks[-1] == 1021, "by the stub clock, so before it was taken in: that takes no time"
    marks[-1] = 1170
    (spans,) = durations([marks]).tolist()
    found = dict(zip(NAMES, spans, strict=True))
    assert found == {
        "admit": 5, "copy_in": 7, "send": 7, "queue": 0, "wake": 6, "decode": 5, "compute": 100, "copy_out": 5,
        "wake_back": 20, "take_in": 10, "hand_over": 10,
    }  # fmt: skip
    assert sum(spans) == 1170 - 995


def test_what_waits_for_another_call_is_in_the_queue() -> None:
    (spans,) = durations([[0, 0, 0, 10, 50, 60, 60, 90, 90, 100, 100, 100]]).tolist()
    assert dict(zip(NAMES, spans, strict=True))["queue"] == 40
    assert dict(zip(NAMES, spans, strict=True))["wake"] == 10


@given(st.lists(st.integers(0, 2**60), min_size=7, max_size=7), st.lists(U64, min_size=5, max_size=5))
def test_no_lie_makes_a_phase_negative_or_the_sum_wrong(ours: list[int], theirs: list[int]) -> None:
    asked, submitted, placed, sent, heard, taken, out = sorted(ours)
    marks = [asked, submitted, placed, sent, *theirs, heard, taken, out]
    (spans,) = durations([marks])
    assert spans.min() >= 0
    assert spans.sum() == out - asked
    (moments,) = settled([marks])
    assert moments[HEARD] == heard - asked
    assert moments[:4].tolist() == [0, submitted - asked, placed - asked, sent - asked], "ours are believed"


def test_marks_that_were_never_made_take_no_time() -> None:
    marks = [100, 110, 0, 130, 0, 140, 150, 160, 170, 180, 190, 0]  # sent again, and not handed over yet
    assert durations([marks]).tolist() == [[10, 0, 20, 0, 10, 10, 10, 10, 10, 10, 0]]
    assert durations([]).shape == (0, len(PHASES))


def test_real_calls_add_up_to_what_their_callers_saw(tmp_path: Path) -> None:
    x = np.zeros(100_000)
    with isopod.trace(tmp_path / "trace.json") as recorder, isopod.load(MODELS / "basic.py:Swiss") as model:
        outer = []
        for _ in range(10):
            began = time.monotonic_ns()
            model(do="double", x=x)
            outer.append(time.monotonic_ns() - began)
        model(do="sleep", x=0.02)
        waiting = [model.submit(do="double", x=x) for _ in range(5)]
        for future in waiting:
            future.result()
        stats = model.stats()
    spans = durations(marks_of(recorder))
    assert spans.min() >= 0
    assert (spans[:10].sum(axis=1) <= outer).all()
    assert spans[10, NAMES.index("compute")] >= 20_000_000
    assert spans[:10, NAMES.index("copy_in")].min() > 0
    assert spans[12:, NAMES.index("queue")].max() > 0 or spans[12:, NAMES.index("wake")].max() > 0
    assert list(stats.phases) == list(NAMES)
    assert {phase.samples for phase in stats.phases.values()} == {16}
    assert stats.phases["compute"] == stats.compute
    assert all(0 <= one.min_us <= one.median_us <= one.p99_us for one in stats.phases.values())
    assert "copy in" in str(stats)


def test_there_are_no_phases_before_the_first_call() -> None:
    with isopod.load(MODELS / "basic.py:double") as model:
        assert model.stats().phases == {}
        assert "no call yet" in str(model.stats())
        model(x=1)
        assert model.stats().phases["compute"].samples == 1


def test_a_worker_that_lies_about_time_breaks_nothing(tmp_path: Path) -> None:
    x = np.arange(4.0)
    with isopod.trace(tmp_path / "trace.json") as recorder, isopod.load(MODELS / "stamps.py:Liar") as model:
        pid = model.health.pid
        for lie in ("nothing", "the future", "backwards", "mixed", ""):
            for _ in range(2):
                assert model(x=x, lie=lie)["y"].tolist() == [1, 2, 3, 4]
        stats = model.stats()
        assert model.health.pid == pid
    assert stats.latency.samples == 10
    assert all(phase.min_us >= 0 for phase in stats.phases.values())
    assert stats.latency.p99_us < 60e6
    spans = durations(marks_of(recorder))
    assert spans.min() >= 0
    whole = [marks[-1] - marks[0] for marks in marks_of(recorder)]
    assert spans.sum(axis=1).tolist() == whole
    timeline = Timeline(tmp_path / "trace.json")
    assert len(timeline.category("call")) == 20, "ten at their callers, ten in the worker"


def test_a_spilled_answer_has_its_stamps_too() -> None:
    with isopod.load(MODELS / "basic.py:anything") as model:
        many = {f"an_input_with_a_long_name_{number}": np.zeros(2) for number in range(200)}
        assert len(model(many)) == 200
        phases = model.stats().phases
    assert phases["copy_out"].median_us > 0
    assert phases["wake_back"].median_us > 0
