"""Inputs of a comparison: from files, stacked, and at random from a problem."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems.conftest import SCALING

from isopod import Input, Problem, SpecError
from isopod.runtime.comparison import collect

X = np.arange(8, dtype=np.float32).reshape(2, 4)


def test_files_folders_and_mappings(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in (2, 1):
        np.savez(folder / f"{number}.npz", x=X * number)
    (folder / "readme.txt").touch()
    found = collect([folder, folder / "2.npz", {"x": X}], SCALING)
    assert [sample.name for sample in found] == ["1.npz", "2.npz", "2.npz", "inputs 2"]
    assert found[1].inputs["x"].tolist() == (X * 2).tolist()
    assert float(found[0].inputs["scale"]) == 2.0  # the problem's default
    assert collect({"x": X, "more": 1}, None)[0].inputs["more"] == 1


def test_stacked_arrays_are_samples() -> None:
    found = collect({"x": np.stack([X, X + 1, X + 2]), "scale": np.ones(3, np.float32)}, SCALING, stacked=True)
    assert [sample.name for sample in found] == ["inputs 0[0]", "inputs 0[1]", "inputs 0[2]"]
    assert found[2].inputs["x"].tolist() == (X + 2).tolist()
    assert found[0].inputs["scale"].shape == ()


@pytest.mark.parametrize(
    ("given", "options", "fact"),
    [
        ([], {}, "there are no inputs to compare with"),
        ({"x": X.astype(float)}, {}, r"^inputs 0: input 'x' is float64 \(2, 4\); expected float32 \(n, 4\)"),
        ({"y": X}, {}, "problem 'scaling' 1 has no input 'y'\n  the input 'x' is missing"),
        (
            {"x": X, "scale": np.ones(3)},
            {"stacked": True},
            "same number of samples along their first axis: x 2, scale 3",
        ),
        ({"x": X, "scale": 1.0}, {"stacked": True}, "x 2, scale 0"),
        ("nowhere.npz", {}, "nowhere.npz cannot be read"),
        ([], {"number": 1, "sizes": {"m": 3}}, "has no symbol 'm' in its inputs; it has n"),
    ],
)
def test_what_does_not_fit_is_said_with_its_sample(given: Any, options: dict[str, Any], fact: str) -> None:
    with pytest.raises(SpecError, match=fact):
        collect(given, SCALING, **options)


def test_files_that_are_none_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "pickled.npz", x=np.array([object()], object))
    with pytest.raises(SpecError, match="holds pickled objects, which are never opened"):
        collect(tmp_path / "pickled.npz", None)
    (tmp_path / "text.npz").write_text("text")
    with pytest.raises(SpecError, match=r"text.npz cannot be read as .npz"):
        collect(tmp_path / "text.npz", None)
    np.save(tmp_path / "one.npy", X)
    with pytest.raises(SpecError, match=r"one.npy cannot be read as .npz"):
        collect(tmp_path / "one.npy", None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpecError, match=r"no .npz file in"):
        collect(tmp_path / "empty", None)
    whole = tmp_path / "whole.npz"
    np.savez(whole, x=X)
    (tmp_path / "cut.npz").write_bytes(whole.read_bytes()[:-40])
    with pytest.raises(SpecError, match=r"cut.npz cannot be read as .npz"):
        collect(tmp_path / "cut.npz", None)


EVERYTHING = Problem(
    "everything",
    inputs=(
        *(Input(f"x{n}", dtype, ("n", None, 2)) for n, dtype in enumerate(["float32", "bool", "uint8", "int64"])),
        Input("c", "complex64", ("n",)),
        Input("b", "bfloat16", ("n", "m")),
        Input("t", "text", ("m",)),
        Input("s", "bytes", ()),
        Input("often", "float32", (), default=1.0),
    ),
)


def test_random_samples_fit_their_problem_and_are_the_same_again() -> None:
    first, again = (collect([], EVERYTHING, number=5, seed=3) for _ in range(2))  # collect checks them
    other = collect([], EVERYTHING, number=5, seed=4)
    assert [sample.name for sample in first] == [f"random {n}" for n in range(5)]
    for name in ("x0", "t", "b"):
        assert [one.inputs[name].tolist() for one in first] == [one.inputs[name].tolist() for one in again]
    assert [one.inputs["x0"].tolist() for one in first] != [one.inputs["x0"].tolist() for one in other]
    assert len({one.inputs["x0"].shape for one in first}) > 1
    assert {one.inputs["x0"].shape[0] for one in collect([], EVERYTHING, number=4, sizes={"n": 3})} == {3}


def test_random_samples_need_declarations() -> None:
    with pytest.raises(SpecError, match="made from a problem: give one"):
        collect([], None, number=1)
    for field, what in ((Input("x"), "dtype"), (Input("x", "float32"), "shape")):
        with pytest.raises(SpecError, match=f"'x' declares no {what}"):
            collect([], Problem("p", inputs=(field,)), number=1)
