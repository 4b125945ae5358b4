"""Problems with real workers: checked at load, before anything is sent, and when the answer is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems.conftest import SCALING, target

import isopod
from isopod import Input, ModelError, Output, Problem, SpecError

X = np.arange(8, dtype=np.float32).reshape(2, 4)
WAYS: list[Callable[[isopod.Model, dict[str, Any]], Any]] = [
    lambda model, inputs: model(inputs),
    lambda model, inputs: model.submit(inputs).result(60),
    lambda model, inputs: asyncio.run(model.acall(inputs)),
    lambda model, inputs: next(iter(model.map([inputs]))),
]
each_way = pytest.mark.parametrize("call", WAYS, ids=["call", "submit", "acall", "map"])


@pytest.fixture(scope="module")
def right(_supervisor_at_rest: None) -> Iterator[isopod.Model]:
    with isopod.load(target("right"), problem=SCALING, timeout=60) as model:
        model(x=X)
        model.submit(x=X).result()
        yield model


@pytest.fixture(scope="module")
def wrong(_supervisor_at_rest: None) -> Iterator[isopod.Model]:
    with isopod.load(target("wrong_batch"), problem=SCALING, timeout=60) as model:
        model.submit(x=X).exception()
        yield model


@each_way
def test_a_default_is_filled_in(right: isopod.Model, call: Any) -> None:
    assert call(right, {"x": X})["y"].tolist() == (X * 2).tolist()
    assert call(right, {"x": X, "scale": 3.0})["y"].tolist() == (X * 3).tolist()


@each_way
def test_what_is_wrong_is_never_sent(right: isopod.Model, call: Any) -> None:
    before = right.stats()
    with pytest.raises(SpecError, match=r"input 'x' is float64 \(2, 4\); expected float32 \(n, 4\)"):
        call(right, {"x": X.astype(float)})
    after = right.stats()
    assert (after.calls, after.bytes_copied_in, after.shared_bytes_used) == (before.calls, before.bytes_copied_in, 0)
    assert call(right, {"x": X})["best"].tolist() == [3, 3]


@each_way
def test_an_output_that_breaks_the_problem_is_the_models_fault(wrong: isopod.Model, call: Any) -> None:
    pid, errors = wrong.health.pid, wrong.stats().errors
    with pytest.raises(
        ModelError, match=r"did not keep to problem 'scaling' 1: output 'y' is float32 \(4, 4\).* by the"
    ):
        call(wrong, {"x": X})
    assert wrong.health.pid == pid
    assert wrong.stats().errors == errors + 1
    assert wrong.stats().shared_bytes_used == 0


def test_a_model_tells_what_its_problem_says(right: isopod.Model) -> None:
    assert [(one.name, one.dtype, one.shape, one.required) for one in right.inputs] == [
        ("x", "float32", ("n", 4), True),
        ("scale", "float32", (), False),
    ]
    assert [(one.name, one.dtype, one.shape) for one in right.outputs] == [
        ("y", "float32", ("n", 4)),
        ("best", "int64", ("n",)),
    ]


def test_what_a_model_gets_is_as_declared(scaling: Path) -> None:
    told = Problem("told", inputs=SCALING.inputs, outputs=(Output("kind", "text", ()),))
    with isopod.load(target("told"), problem=told, cast="safe") as model:
        assert dict(model(x=X)) == {"kind": "ndarray", "dtype": "float32", "x": "float32"}
        assert model(x=X.astype("f2"), scale=np.float16(1))["dtype"] == "float32"
        assert model(x=X, scale=3)["kind"] == "int"  # numbers cross as they are, whatever was declared
        with pytest.raises(SpecError, match="safe casting does not allow that"):
            model(x=X.astype("f8"))
    with isopod.load(target("told"), problem=scaling, check=False) as model:
        assert model(x=X.astype("f8"))["x"] == "float64"
        assert model(x=X)["dtype"] == "float32"


def test_a_model_that_contradicts_its_problem_is_not_loaded() -> None:
    other = Problem("other", inputs=(Input("image"), Input("scale")), outputs=())
    with pytest.raises(SpecError) as caught:
        isopod.load(target("right"), problem=other)
    assert str(caught.value).splitlines() == [
        "model 'right' does not implement problem 'other':",
        "  input 'image' is unknown to it: it takes x, scale",
        "  it needs the input 'x', which the problem does not have",
    ]


def test_options_of_load_that_are_wrong_are_said_before_anything_is_started() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"problem": "nowhere.toml"}, "nowhere.toml cannot be read"),
        ({"problem": 3}, "problem is an isopod.Problem or the path"),
        ({"cast": "unsafe"}, "cast is 'safe' or 'same_kind'"),
    ]
    for options, fact in cases:
        with pytest.raises(SpecError, match=f"model 'right': {fact}"):
            isopod.load(target("right"), **options)


def test_a_new_version_must_solve_the_problem_too(tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text("def other(image):\n    return {}\n")
    with isopod.load(target("right"), problem=SCALING) as model:
        with pytest.raises(SpecError, match="'right' does not implement problem 'scaling' 1"):
            model.reload(tmp_path / "other.py:other")
        assert model(x=X)["best"].tolist() == [3, 3]
        model.reload(target("double"))
        with pytest.raises(ModelError, match="its dtype is float64, not float32"):
            model(x=X)


def test_the_check_goes_on_with_the_worker_that_takes_a_dead_ones_place() -> None:
    with isopod.load(target("crashes_on_negatives"), problem=SCALING) as model:
        with pytest.raises(isopod.WorkerCrashed):
            model(x=-X)
        with pytest.raises(SpecError, match="expected float32"):
            model(x=X.astype(int))
        assert model(x=X)["best"].tolist() == [3, 3]


def test_a_call_that_is_retried_is_judged_as_the_first_one(tmp_path: Path) -> None:
    (tmp_path / "twice.py").write_text(
        "import os\n"
        "import numpy as np\n"
        "def twice(x, scale=1.0):\n"
        f"    if not os.path.exists({str(tmp_path / 'seen')!r}):\n"
        f"        open({str(tmp_path / 'seen')!r}, 'w').close()\n"
        "        os._exit(3)\n"
        "    return {'y': np.zeros((9, 4), np.float32), 'best': np.zeros(2, int)}\n"
    )
    with (
        isopod.load(tmp_path / "twice.py:twice", problem=SCALING, retries=1) as model,
        pytest.raises(ModelError, match="dimension 0 is 9, but n is 2 by the inputs"),
    ):
        model(x=X)
