"""``isopod.bench``: what is measured, of whom, and the facts of its result; never how long anything takes."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any, get_args

import drawing
import numpy as np
import pytest
from application import MODELS
from problems.conftest import SCALING

import isopod
from isopod.runtime import loading
from isopod.runtime.bench import Benching, Benchmark, Plan, Series
from isopod.runtime.bench.inputs import Wish, described, inputs_for, sizes_of
from isopod.runtime.bench.results import ELSEWHERE, IN_PROCESS, PLACED, PLAIN
from isopod.runtime.observe.phases import NAMES
from isopod.runtime.placement import Placement, core_of

DOUBLE = f"{MODELS / 'basic.py'}:double"
ARRAYS = {"x": np.arange(8.0)}


def figures(result: Benchmark) -> dict[tuple[str, str, str, int], dict[str, Any]]:
    told = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    return {(one["kind"], one["who"], one["size"], one["callers"]): one for one in told["series"]}


@pytest.fixture(scope="module")
def result() -> Benchmark:
    described_x = [isopod.Input("x", "float32", ("n",))]
    return isopod.bench(DOUBLE, described=described_x, sizes={"n": [16, 1024]}, calls=12, callers=(1, 3), pace=0.0001)


def test_everybody_is_called_as_often_as_was_asked(result: Benchmark) -> None:
    found = figures(result)
    assert {key: one["calls"] for key, one in found.items()} == {
        **{("back to back", who, size, 1): 12 for who in (IN_PROCESS, PLAIN, PLACED) for size in ("n=16", "n=1024")},
        **{("paced", who, "n=16", 1): 12 for who in (IN_PROCESS, PLAIN, PLACED)},
        ("callers", PLAIN, "n=16", 1): 12,
        ("callers", PLAIN, "n=16", 3): 12,
    }
    for one in found.values():
        assert 0 < one["min_us"] <= one["p50_us"] <= one["p90_us"] <= one["p99_us"]
    assert found["callers", PLAIN, "n=16", 3]["calls_per_second"] > 0
    assert found["back to back", PLAIN, "n=1024", 1]["bytes_in"] == 4096


def test_phases_are_told_of_whoever_went_through_isopod(result: Benchmark) -> None:
    for (kind, who, _, _), one in figures(result).items():
        assert ("phases" in one) == (who != IN_PROCESS), (kind, who)
        if who != IN_PROCESS:
            assert list(one["phases"]) == list(NAMES)
            assert all(value >= 0 for phase in one["phases"].values() for value in phase.values())


def test_the_facts_of_the_run(result: Benchmark) -> None:
    told = result.to_dict()
    assert (told["schema"], told["complete"], told["name"], told["pace_seconds"]) == (
        1,
        True,
        "basic.py:double",
        0.0001,
    )
    assert told["model"]["target"] == DOUBLE
    assert told["model"]["python"].startswith("3.")
    assert {"processor", "cores", "python", "numpy", "load average", "others"} <= told["machine"].keys()
    assert told["inputs"] == {"n=16": "x float32 (16,)", "n=1024": "x float32 (1024,)"}
    assert told["phases"] == list(NAMES)
    assert all("This machine was busy" in note for note in told["notes"])


@pytest.fixture(scope="module")
def _fonts(_supervisor_at_rest: None) -> None:
    drawing.open_fonts()


@pytest.mark.usefixtures("_fonts")
@pytest.mark.parametrize(("form", "head"), [("png", b"\x89PNG"), ("html", b"<!doctype")])
def test_a_report_in_each_form(result: Benchmark, tmp_path: Path, form: str, head: bytes) -> None:
    data = result.report(tmp_path / f"report.{form}").read_bytes()
    assert data.startswith(head)
    if form == "html":
        text = data.decode()
        for fact in ("in process", "copy in", "calls a second", "n=1024", "throughput by callers", "load average"):
            assert fact in text, fact
        outside = text.partition("<style>")[2].replace("http://www.w3.org", "").replace("http://purl.org", "")
        assert "src=" not in outside
        assert "@import" not in outside


@pytest.mark.usefixtures("_fonts")
def test_a_report_of_next_to_nothing(tmp_path: Path) -> None:
    assert Benchmark("nothing").report(tmp_path / "nothing.png").stat().st_size > 1000
    one = Series("back to back", PLAIN, "1 KB", 1024, samples=[1000])
    assert Benchmark("one", series=[one]).report(tmp_path / "one.html").stat().st_size > 1000
    with pytest.raises(isopod.SpecError, match="a picture ends with one of"):
        Benchmark("no").report(tmp_path / "no.gif")


def test_a_typical_call_adds_up_and_forgets_outliers() -> None:
    spans = np.ones((8, len(NAMES)), np.int64) * 1000
    spans[0, 0] = 10**12
    one = Series("paced", PLAIN, "", 0, samples=[1] * 8, spans=[spans[:3], spans[3:]])
    assert one.typical() == dict.fromkeys(NAMES, 1.0)
    assert one.phases()["admit"]["p99_us"] == 1e9
    assert Series("paced", PLAIN, "", 0).typical() == {}


def test_a_model_that_is_loaded_stays_so() -> None:
    with isopod.load(DOUBLE) as model:
        pid = model.health.pid
        result = isopod.bench(model, ARRAYS, calls=2, callers=(1,), pace=0, in_process=False)
        assert {one.who for one in result.series} == {PLAIN, PLACED}
        assert {one.kind for one in result.series} == {"back to back", "callers"}
        assert model(x=1)["y"] == 2
        assert model.health.pid == pid


def test_a_slow_model_is_not_called_more_than_it_must_be() -> None:
    with isopod.load(f"{MODELS / 'basic.py'}:Swiss") as model:
        asked = {"do": "sleep", "x": np.float64(0.12)}
        result = isopod.bench(model, asked, seconds=0.01, callers=(2,), pace=0, in_process=False)
        assert result.complete
        assert model.stats().calls <= 2 * 2 * 2 + 2 * 2


def test_workers_elsewhere_are_compared_where_they_are_asked_for() -> None:
    result = isopod.bench(DOUBLE, ARRAYS, calls=12, callers=(), pace=0.0001, in_process=False, placements=True)
    whose = {PLAIN, PLACED, *ELSEWHERE.values()}
    found = figures(result)
    assert {key: one["calls"] for key, one in found.items()} == {
        (kind, who, "64 B", 1): 12 for who in whose for kind in ("back to back", "paced")
    }
    assert all(one["phases"] for one in found.values())


@pytest.mark.parametrize("placement", get_args(Placement))
def test_a_model_loaded_once_more_has_its_worker_where_that_is_asked(placement: Placement) -> None:
    with isopod.load(DOUBLE) as model, loading.elsewhere(model, placement) as other:
        assert (other(ARRAYS)["y"] == model(ARRAYS)["y"]).all()
        allowed = os.sched_getaffinity(0)
        cores = [core_of(cpu) & allowed for cpu in allowed]
        there = os.sched_getaffinity(other.health.pid or 0)
        assert there == allowed if placement == "auto" or len(cores) == 1 else there in cores


def test_by_time_every_series_has_some_calls() -> None:
    result = isopod.bench(DOUBLE, ARRAYS, seconds=0.2, callers=(1, 2), pace=0.0001)
    assert result.complete
    assert len(result.some("callers")) == 2
    assert all(one.samples for one in result.series)
    assert {one.size for one in result.series} == {"64 B"}


def test_a_model_that_fails_leaves_what_there_is() -> None:
    class Stop(isopod.IsopodError):
        pass

    run = Benching(DOUBLE, Wish(ARRAYS), Plan(calls=3))

    def progress(what: str, done: int, total: int) -> None:
        if what.startswith("paced"):
            raise Stop

    run.progress = progress
    with pytest.raises(Stop), run:
        run.run()
    assert not run.result.complete
    assert {one.kind for one in run.result.series if one.samples} == {"back to back"}
    assert "load average" in run.result.facts


def test_callers_that_fail_raise_and_end() -> None:
    with isopod.load(f"{MODELS / 'deaths.py'}:Dying") as model:
        with pytest.raises(isopod.WorkerCrashed):
            isopod.bench(model, {"way": "os_exit"}, calls=1, callers=(2,), pace=0, in_process=False)
        assert model(x=1)["y"] == 2
    assert not any("work" in thread.name for thread in threading.enumerate())


# ---------------------------------------------------------------------- in its own process


def test_a_model_that_times_itself() -> None:
    with isopod.load(f"{MODELS / 'basic.py'}:Scale", args={"factor": 3.0}) as model:
        with loading.timed(model) as twin:
            assert twin.health.pid != model.health.pid
            answer = twin({"isopod.turn": [7, 0.0], "x": np.ones(3)})
            assert answer["ns"].dtype == np.int64
            assert (answer["ns"] > 0).sum() == 7
            with pytest.raises(isopod.ModelError, match=r"is told isopod\.turn"):
                twin(x=1)
            with pytest.raises(isopod.ModelError, match="unexpected keyword"):
                twin({"isopod.turn": [1, 0.0], "z": 1})
            assert twin({"isopod.turn": [1, 0.0], "x": 1})["ns"].shape == (1,)
        assert model(x=1)["calls"] == 1, "the twin's calls are its own"


def test_a_strict_model_times_itself_in_its_sandbox() -> None:
    with isopod.load(DOUBLE, sandbox="strict") as model, loading.timed(model) as twin:
        assert twin.sandbox_report().profile == "strict"
        assert len(twin({"isopod.turn": [3, 0.0], "x": np.ones(3)})["ns"]) == 3


# ---------------------------------------------------------------------- what it is asked


def test_inputs_by_their_form(tmp_path: Path) -> None:
    for number in range(3):
        np.savez(tmp_path / f"{number}.npz", x=np.zeros((1 + number // 2, 1024), np.float32), flag=np.bool_(True))
    with isopod.load(f"{MODELS / 'basic.py'}:anything") as model:
        sizes = inputs_for(model, None, Wish([tmp_path]))
        assert [(size.label, size.nbytes, len(size.samples)) for size in sizes] == [
            ("4 KB", 4097, 2),
            ("8 KB", 8193, 1),
        ]
        assert sizes[0].shapes == "x float32 (1, 1024), flag bool ()"
        many = [{"x": np.zeros(number)} for number in range(1, 20)]
        with pytest.raises(isopod.SpecError, match="19 different forms; at most 12"):
            inputs_for(model, None, Wish(many))
        (text,) = inputs_for(model, None, Wish({"x": np.array(["a", "b"]), "y": "plain"}))
        assert text.shapes == "x text (2,), y str"


def test_inputs_after_a_problem_and_after_what_is_described() -> None:
    with isopod.load(f"{MODELS / 'basic.py'}:anything") as model:
        sizes = inputs_for(model, None, Wish(problem=SCALING, sizes={"n": [2, 5]}, random=2))
        assert [(size.label, size.samples[0]["x"].shape, len(size.samples)) for size in sizes] == [
            ("n=2", (2, 4), 2),
            ("n=5", (5, 4), 2),
        ]
        free = described("image:uint8:batch,?,3")
        assert free.shape == ("batch", "image_1", 3)
        (size,) = inputs_for(model, None, Wish(described=[free], sizes={"batch": [2], "image_1": [7]}))
        assert size.samples[0]["image"].shape == (2, 7, 3)


def test_a_pod_is_asked_its_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOPOD_HOME", str(tmp_path / "home"))
    pod = isopod.pack(
        tmp_path / "double.pod", DOUBLE, test_inputs={"x": np.arange(3.0)},
        inputs=[{"name": "x", "dtype": "float64", "shape": ["n"]}],
        outputs=[{"name": "y", "dtype": "float64", "shape": ["n"]}],
    )  # fmt: skip
    with isopod.load(pod) as model:
        (size,) = inputs_for(model, pod, Wish())
        assert size.samples[0]["x"].tolist() == [0, 1, 2]
        made = inputs_for(model, pod, Wish(sizes={"n": [1, 4]}))
        assert [one.samples[0]["x"].shape for one in made] == [(1,), (4,)], "after what the pod declares"


@pytest.mark.parametrize(
    ("wish", "fact"),
    [
        ({}, r"does not say how its inputs look \(x\): give an .npz file"),
        ({"sizes": {"n": [1, 2], "m": [1, 2]}}, "one symbol may have several sizes, not n and m"),
        ({"described": [isopod.Input("x", "float32", ("n",))], "sizes": {"m": [1]}}, "has no symbol 'm'"),
        ({"described": [isopod.Input("x", "float32", ("n",))], "problem": SCALING}, "not both"),
        ({"given": "no.npz"}, "no.npz cannot be read"),
    ],
)
def test_inputs_that_cannot_be(wish: dict[str, Any], fact: str) -> None:
    with isopod.load(DOUBLE) as model, pytest.raises(isopod.SpecError, match=fact):
        inputs_for(model, None, Wish(**wish))


def test_sizes_and_descriptions_as_they_are_written() -> None:
    assert sizes_of(["n=1,4k,2M", "m=3"]) == {"n": [1, 4096, 2 << 20], "m": [3]}
    for wrong in ("n", "n=", "n=0", "n=-1", "n=two", "n=1,,2"):
        with pytest.raises(isopod.SpecError, match="is not SYMBOL=N"):
            sizes_of([wrong])
    assert described("x:int64") == isopod.Input("x", "int64", ())
    for wrong in ("x", "x:int64:1:2"):
        with pytest.raises(isopod.SpecError, match="is not NAME:DTYPE:DIMS"):
            described(wrong)


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"seconds": 0}, "seconds is a number of seconds, more than 0"),
        ({"pace": -1}, "pace is a number of seconds, 0 or more"),
        ({"timeout": 0}, "timeout is a number of seconds"),
        ({"calls": 0}, "calls is a number of calls, 1 or more"),
        ({"callers": (0,)}, "callers are numbers of threads, from 1 to 256"),
    ],
)
def test_plans_that_cannot_be(changes: dict[str, Any], fact: str) -> None:
    with pytest.raises(isopod.SpecError, match=fact):
        Plan(**changes)
