"""Comparisons with real workers: agreement, failures that do not end it, latencies, memory."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import drawing
import numpy as np
import pytest
from problems.conftest import SCALING, target

import isopod
from isopod import SpecError
from isopod.runtime.comparison import Comparing, collect, limit_of
from isopod.runtime.problems import Tolerance

X = (np.arange(-4, 4, dtype=np.float32) / 4).reshape(2, 4)
POSITIVE = [{"x": np.abs(X)}, {"x": np.abs(X) + 1}]


def compare(*names: str, **options: Any) -> isopod.Comparison:
    options = {"problem": SCALING, "inputs": POSITIVE, "seconds": 0.05, **options}
    return isopod.compare(*(target(name) for name in names), **options)


def test_several_implementations_are_held_against_the_first() -> None:
    result = compare("right", "nearly", "far", "sometimes_nan")
    assert (result.complete, result.passed, result.judged, result.reference) == (True, False, True, "right")
    assert [one.name for one in result.implementations] == ["right", "nearly", "far", "sometimes_nan"]
    assert result["right"].agreements == []
    by_name = {one.name: {item.output: item for item in one.agreements} for one in result.implementations[1:]}
    nearly, far, nan = (by_name[name]["y"] for name in ("nearly", "far", "sometimes_nan"))
    assert (nearly.max_ulp, nearly.equal, nearly.mismatches, nearly.failed) == (1, 0, 0, False)
    assert (far.max_abs, far.mismatches, far.failed) == (0.5, 16, True)
    assert (far.first[0].sample, far.first[0].index) == ("inputs 0", (0, 0))
    assert far.first[0].value - far.first[0].reference == 0.5
    assert (nan.not_finite, nan.equal, nan.max_abs) == (8, 8, 0.0)
    assert by_name["far"]["best"].equal == 4
    for one in result.implementations:
        assert (one.answered, one.failures) == (2, [])
        assert len(one.latencies) >= 10
        assert 0 < one.latency()["min_us"] <= one.latency()["p50_us"] <= one.latency()["p99_us"]
        assert 1 << 20 < one.rss <= one.peak_rss
        assert one.start_seconds > 0
    with pytest.raises(KeyError):
        result["nobody"]


def test_an_answer_that_is_built_otherwise_is_told_and_compared_as_far_as_it_goes() -> None:
    result = compare("right", "double", "flat", "one_short")
    structure = {(one.name, item.output): item.structure for one in result.implementations for item in one.agreements}
    assert structure["double", "y"] == ["dtype float32 and float64"]
    assert structure["flat", "y"] == ["shape (2, 4) and (8,)"]
    assert structure["one_short", "best"] == ["missing in one_short"]
    assert structure["flat", "best"] == []
    assert {failure.what for failure in result["double"].failures} == {"broke the problem"}
    assert "output 'y' is float64 (2, 4); expected float32 (n, 4)" in str(result["double"].failures[0])
    assert not result.passed
    free = compare("right", "double", "plain", problem=None)
    assert free["double"].failures == []
    assert free["plain"].agreements[2].structure == ["missing in right"]
    assert not free.passed  # structure is judged always
    assert not free.judged


def test_who_fails_is_told_of_and_the_others_go_on() -> None:
    names = ("right", "crashes_on_negatives", "raises", "hangs", "CannotBeMade", "nearly")
    result = compare(*names, inputs=[{"x": X}, *POSITIVE], timeout=3.0)
    what = {one.name: [(one.sample, one.what) for one in one.failures] for one in result.implementations}
    assert what["right"] == what["nearly"] == []
    assert what["crashes_on_negatives"] == [("inputs 0", "crashed")]
    assert what["raises"] == [(f"inputs {n}", "raised") for n in range(3)]
    assert what["hangs"] == [(f"inputs {n}", "timed out") for n in range(3)]
    assert what["CannotBeMade"] == [("", "not loaded")]
    assert "exited with code 7" in str(result["crashes_on_negatives"].failures[0])
    assert "no weights" in result["CannotBeMade"].failures[0].message
    assert [one.answered for one in result.implementations] == [3, 2, 0, 0, 0, 3]
    assert [bool(one.latencies) for one in result.implementations] == [True, True, False, False, False, True]
    assert (result.complete, result.passed) == (True, False)
    assert result["nearly"].passed


def test_the_reference_is_the_first_that_could_be_loaded() -> None:
    result = compare("CannotBeMade", "right", "far")
    assert result.reference == "right"
    assert result["far"].agreements[0].max_abs == 0.5
    none = compare("CannotBeMade", "CannotBeMade")
    assert (none.reference, none.passed, none.complete) == ("", False, True)
    assert [one.name for one in none.implementations] == [f"{target('CannotBeMade')} #{n}" for n in (1, 2)]


def test_a_threshold_replaces_the_problems_tolerances() -> None:
    assert not compare("right", "far", seconds=0).passed
    assert compare("right", "far", seconds=0, fail_above=0.6).passed
    assert compare("right", "nearly", seconds=0, fail_above="1 ulp").passed
    assert not compare("right", "nearly", seconds=0, fail_above=0).passed
    free = compare("right", "far", seconds=0, problem=None)
    assert free.passed  # nothing says how far they may be apart
    assert not free.judged
    assert free["far"].agreements[0].mismatches == 16


@pytest.mark.parametrize(
    ("text", "tolerance"),
    [
        (None, None),
        (0, Tolerance()),
        (1e-5, Tolerance(atol=1e-5)),
        ("1e-5", Tolerance(atol=1e-5)),
        ("0.5 abs", Tolerance(atol=0.5)),
        ("1E-3rel", Tolerance(rtol=1e-3)),
        (" 4 ULP ", Tolerance(ulp=4)),
    ],
)
def test_thresholds(text: Any, tolerance: Tolerance | None) -> None:
    assert limit_of(text) == tolerance


@pytest.mark.parametrize("text", ["", "much", "-1", "4 inches", "nan", "1.2.3", "inf"])
def test_what_is_no_threshold(text: str) -> None:
    with pytest.raises(SpecError, match="a threshold is a number such as 1e-5"):
        limit_of(text)


def test_models_that_are_loaded_already_stay_so() -> None:
    with isopod.load(target("right"), name="mine") as mine, isopod.load(target("far"), name="other") as other:
        result = isopod.compare(mine, other, inputs=POSITIVE, seconds=0)
        assert [one.name for one in result.implementations] == ["mine", "other"]
        assert result["other"].agreements[0].max_abs == 0.5
        assert mine(x=np.abs(X))["best"].shape == (2,)


def test_what_cannot_be_compared_is_said_before_anything_is_started() -> None:
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: isopod.compare(target("right"), inputs=POSITIVE), "needs two models or more, not 1"),
        (lambda: compare("right", "far", inputs=()), "there are no inputs"),
        (lambda: compare("right", "far", inputs={"x": X[0]}), "inputs 0: input 'x'"),
        (lambda: compare("right", "far", seconds=-1), "seconds is a number of seconds"),
        (lambda: compare("right", "far", timeout=0), "timeout is a number of seconds"),
        (lambda: compare("right", "far", problem="nowhere.toml"), "cannot be read"),
    ]
    for call, fact in cases:
        with pytest.raises(SpecError, match=fact):
            call()


def test_all_of_it_is_json() -> None:
    result = compare("right", "sometimes_nan", "raises")
    told = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert (told["schema"], told["passed"], told["reference"], told["samples"]) == (1, False, "right", 2)
    assert told["problem"] == "problem 'scaling' 1"
    nan = told["implementations"][1]
    assert nan["outputs"][0]["first_mismatches"][0]["value"] == "nan"
    assert nan["outputs"][0]["tolerance"] == {"rtol": 0.0, "atol": 1e-3, "ulp": 0}
    assert nan["latency"]["p99_us"] > 0
    assert told["implementations"][2]["failures"][0]["what"] == "raised"
    assert told["implementations"][2]["latency"] == {"samples": 0}


def test_turns_go_forth_and_back() -> None:
    turns: list[str] = []

    def tell(name: str, stage: str, _done: int, _total: int) -> None:
        if stage == "time":
            turns.append(name)

    models = [target("right"), target("nearly")]
    with Comparing(models, collect(POSITIVE, SCALING), problem=SCALING, seconds=0.3, progress=tell) as run:
        run.run()
    rounds = [tuple(turns[n : n + 2]) for n in range(0, len(turns), 2)]
    there, back = ("right", "nearly"), ("nearly", "right")
    assert rounds == list(itertools.islice(itertools.cycle([there, back]), len(rounds)))
    assert len(run.result["right"].latencies) == len(run.result["nearly"].latencies) == 5 * len(rounds)


def test_what_interrupts_it_leaves_what_there_is() -> None:
    def stop(_name: str, stage: str, _done: int, _total: int) -> None:
        if stage == "time":
            raise KeyboardInterrupt

    models = [target("right"), target("far")]
    run = Comparing(models, collect(POSITIVE, SCALING), problem=SCALING, progress=stop)
    with pytest.raises(KeyboardInterrupt), run:
        run.run()
    assert (run.result.complete, run.result.passed) == (False, False)
    assert run.result["far"].agreements[0].max_abs == 0.5


@pytest.fixture(scope="module")
def _fonts(_supervisor_at_rest: None) -> None:
    drawing.open_fonts()


@pytest.mark.usefixtures("_fonts")
@pytest.mark.parametrize(
    ("form", "head"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("html", b"<!doctype"), ("pdf", b"%PDF")]
)
def test_a_picture_in_each_form(tmp_path: Path, form: str, head: bytes) -> None:
    result = compare("right", "far", "raises")
    where = result.plot(tmp_path / f"picture.{form}")
    data = where.read_bytes()
    assert data.startswith(head)
    text = data.decode(errors="replace")
    if form in ("svg", "html"):
        assert "far" in text
        assert "absolute error" in text
    if form == "html":
        assert "raised on inputs 0" in text
        assert "http" not in text.partition("<style>")[0]


@pytest.mark.usefixtures("_fonts")
def test_pictures_of_next_to_nothing_and_those_that_cannot_be(tmp_path: Path) -> None:
    nothing = isopod.Comparison("", [], 0)
    assert nothing.plot(tmp_path / "nothing.png").stat().st_size > 1000
    same = compare("right", "slow", seconds=0)
    assert same.plot(tmp_path / "same.png").stat().st_size > 1000
    with pytest.raises(SpecError, match=r"a picture ends with one of .html, .pdf, .png, .svg"):
        same.plot(tmp_path / "picture.gif")
    with pytest.raises(SpecError, match="cannot be written"):
        same.plot(tmp_path / "not" / "there.png")
