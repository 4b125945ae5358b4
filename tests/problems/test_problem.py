"""Problems as values: what they refuse when they are made, and that a file gives back what was written into it."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isopod import Input, Output, Problem, SpecError
from isopod.runtime.problems.fields import DTYPES

DETECTOR = Problem(
    "detector",
    "1.0",
    inputs=(
        Input("image", "uint8", ("batch", None, None, 3), description="RGB"),
        Input("threshold", "float32", (), default=0.5),
        Input("tags", "text", ("tags",), required=False),
    ),
    outputs=(
        Output("boxes", "float32", ("batch", "boxes", 4), rtol=1e-4, ulp=4),
        Output("labels", "int64", ("batch", "boxes"), atol=0),
    ),
    shared=("batch",),
    description="where things are",
)


def test_a_problem_is_a_value() -> None:
    again = dataclasses.replace(DETECTOR)
    assert again == DETECTOR
    assert hash(again) == hash(DETECTOR)
    assert str(DETECTOR) == "problem 'detector' 1.0"
    with pytest.raises(dataclasses.FrozenInstanceError):
        DETECTOR.name = "x"  # type: ignore[misc]
    assert Problem("p", inputs=[Input("x", np.float32, [np.int64(3)])]) == Problem(  # type: ignore[arg-type]
        "p", inputs=(Input("x", "float32", (3,)),)
    )


def test_a_default_makes_an_input_optional() -> None:
    field = Input("x", "float32", (2,), default=np.array([1, 2]))
    assert (field.required, field.default, field.spec.required) == (False, (1, 2), False)
    filling = field.filling()
    assert (filling.dtype, filling.tolist(), filling.flags.writeable) == (np.float32, [1, 2], False)
    assert Input("mode", default="fast").filling() == "fast"
    assert Input("x", "bfloat16", (), default=1).filling().dtype.name == "bfloat16"


@pytest.mark.parametrize(
    ("make", "fact"),
    [
        (lambda: Input(""), "an input has a name"),
        (lambda: Input(3), "which is text, not 3"),  # type: ignore[arg-type]
        (lambda: Input("x" * 300), "longer than 256 bytes"),
        (lambda: Input("x", "flaot32"), "input 'x': there is no dtype 'flaot32'; did you mean 'float32'"),
        (lambda: Input("x", "Double"), "did you mean 'float64'"),
        (lambda: Output("x", "string"), "output 'x': .* did you mean 'text'"),
        (lambda: Input("x", "quaternion"), "there are bool, int8"),
        (lambda: Input("x", np.datetime64), "there is no dtype 'datetime64'"),  # type: ignore[arg-type]
        (lambda: Input("x", "float32", 3), "a shape is a tuple"),  # type: ignore[arg-type]
        (lambda: Input("x", "float32", (-1,)), "-1 is no size: .* or None for any size"),
        (lambda: Input("x", "float32", (float("inf"),)), "inf is no size"),  # type: ignore[arg-type]
        (lambda: Input("x", "float32", (float("nan"),)), "nan is no size"),  # type: ignore[arg-type]
        (lambda: Input("x", "float32", (3.0,)), "3.0 is no size"),  # type: ignore[arg-type]
        (lambda: Input("x", "float32", (True,)), "True is no size"),
        (lambda: Input("x", "float32", (1 << 64,)), "is no size"),
        (lambda: Input("x", "float32", ("two words",)), "'two words' is no symbol"),
        (lambda: Input("x", "float32", ("",)), "'' is no symbol"),
        (lambda: Input("x", "float32", (1,) * 33), "33 dimensions; at most 32"),
        (lambda: Input("x", "int8", (), default=300), "default 300 is not of dtype int8"),
        (lambda: Input("x", "int8", (2,), default=[1, 300]), "out of its range|not of dtype int8"),
        (lambda: Input("x", "uint8", (), default=-1), "not of dtype uint8"),
        (lambda: Input("x", "int64", (), default=0.5), "default 0.5 is not of dtype int64"),
        (lambda: Input("x", "float16", (), default=1e9), "out of its range"),
        (lambda: Input("x", "bool", (), default=1), "not of dtype bool"),
        (lambda: Input("x", "text", (), default=b"a"), "not of dtype text"),
        (lambda: Input("x", "float32", (3,), default=1.0), r"has the shape \(\), which does not fit \(3,\)"),
        (lambda: Input("x", "float32", ("n", "n"), default=[[1, 2]]), "does not fit"),
        (lambda: Input("x", "float32", (2,), default=[[1], [1, 2]]), "not of dtype float32: .*inhomogeneous"),
        (lambda: Input("x", default=[1, 2]), "a default that is an array needs a dtype"),
        (lambda: Input("x", default=object()), "its default is of type object"),
        (lambda: Input("x", required=1), "required is true or false"),  # type: ignore[arg-type]
        (lambda: Input("x", description=3), "its description is text"),  # type: ignore[arg-type]
        (lambda: Output("x", rtol=-1), "rtol is a number, 0 or more, not -1"),
        (lambda: Output("x", atol=float("nan")), "atol is a number, 0 or more, not nan"),
        (lambda: Output("x", atol=float("inf")), "atol is a number, 0 or more, not inf"),
        (lambda: Output("x", ulp=1.5), "ulp is a whole number"),  # type: ignore[arg-type]
        (lambda: Problem(""), "a problem has a name"),
        (lambda: Problem("p", 1.0), "its version is text, not 1.0"),  # type: ignore[arg-type]
        (lambda: Problem("p", inputs=(Input("x"), Input("x"))), "problem 'p': there are two inputs with the name 'x'"),
        (lambda: Problem("p", inputs=(Output("x"),)), "inputs is a list of isopod.Input"),  # type: ignore[arg-type]
        (lambda: Problem("p", inputs="x"), "inputs is a list of isopod.Input"),  # type: ignore[arg-type]
        (lambda: Problem("p", shared=("n",)), "'n' is shared, but is in the shape of no input"),
        (lambda: Problem("p", inputs=(Input("x", "", ("n",)),), shared=("n",)), "in the shape of no output"),
        (lambda: Problem("p", shared="n"), "shared is a list of symbols"),
    ],
)
def test_what_is_no_problem_is_said_when_it_is_made(make: Any, fact: str) -> None:
    with pytest.raises(SpecError, match=f"(?s){fact}"):
        make()


# ------------------------------------------------------------------ files


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    text = DETECTOR.to_toml(tmp_path / "p.toml")
    assert (tmp_path / "p.toml").read_text() == text
    assert Problem.from_toml(tmp_path / "p.toml") == DETECTOR
    assert 'shape = ["batch", "?", "?", 3]' in text


def test_the_docstring_of_from_toml_is_a_file_that_can_be_read(tmp_path: Path) -> None:
    text = inspect.cleandoc(Problem.from_toml.__doc__ or "").partition("::\n")[2]
    (tmp_path / "p.toml").write_text(inspect.cleandoc(text))
    problem = Problem.from_toml(tmp_path / "p.toml")
    assert problem.inputs == (Input("image", "uint8", ("batch", None, None, 3)),)
    assert problem.outputs == (Output("boxes", "float32", ("batch", "boxes", 4), rtol=1e-4),)


@pytest.mark.parametrize(
    ("body", "line", "fact"),
    [
        ('dtype = "flaot32"', 6, "did you mean 'float32'"),
        ('dtype = "float32"\nshape = [\n  "n",\n  -1,\n]', 10, "-1 is no size"),
        ('dtype = "float32"\nshape = ["a b"]', 7, "'a b' is no symbol"),
        ("shape = [nan]", 6, "nan is no size"),
        ('dtype = "int8"\ndefault = 300', 7, "default 300"),
        ('dtyp = "int8"', 6, "an input has no 'dtyp'; it has default"),
        ('name = "x"', 6, "not TOML"),
        ('[[inputs]]\nname = "ok"', 7, "two inputs with the name 'ok'"),
        ("[[outputs]]", 6, "an output has a name"),
        ('[[outputs]]\nname = "y"\nrtol = -1.0', 8, "rtol is a number"),
        ("[inputs.more]\n", 6, "an input has no 'more'"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_line(tmp_path: Path, body: str, line: int, fact: str) -> None:
    file = tmp_path / "p.toml"
    file.write_text(f'name = "p"\n[[inputs]]\nname = "ok"\n[[inputs]]\nname = "x"\n{body}\n')
    with pytest.raises(SpecError, match=f"(?s)p.toml:{line}: .*{fact}"):
        Problem.from_toml(file)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ('version = "1"', "p.toml:1: a problem has a name"),
        ("name = 'p'\nversion = 1.0", 'p.toml:2: the version is text: write version = "1.0"'),
        ("name = ''", "p.toml:1: a problem has a name, and this one is empty"),
        ("name = 'p'\n\nsizes = 3", "p.toml:3: a problem has no 'sizes'"),
        ("name = 'p'\n[inputs]\nx = 1", "p.toml:2: inputs are tables: each begins with \\[\\[inputs"),
        ("name = 'p'\n\nshared = ['n']", "p.toml:3: .*'n' is shared"),
        ("name = ", "p.toml:1: this is not TOML"),
    ],
)
def test_what_is_wrong_above_the_tables_is_told_too(tmp_path: Path, text: str, fact: str) -> None:
    (tmp_path / "p.toml").write_text(text + "\n")
    with pytest.raises(SpecError, match=f"(?s){fact}"):
        Problem.from_toml(tmp_path / "p.toml")


def test_a_file_that_is_not_there_and_one_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        Problem.from_toml(tmp_path / "p.toml")
    with pytest.raises(SpecError, match="cannot be written"):
        DETECTOR.to_toml(tmp_path / "not" / "p.toml")
    with pytest.raises(SpecError, match="not UTF-8, so TOML cannot hold it"):
        Problem("p", inputs=(Input("x", "bytes", (), default=b"\xff"),)).to_toml()


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
symbols = st.sampled_from(["n", "batch", "ünïcode", "_x1"])
shapes = st.none() | st.lists(st.none() | st.integers(0, 9) | symbols, max_size=4).map(tuple)
DEFAULTS: dict[str, st.SearchStrategy[Any]] = {
    "float64": st.floats(allow_nan=False),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "bool": st.booleans(),
    "text": st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5),
    "complex128": st.complex_numbers(allow_nan=False),
    "bytes": st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=5).map(str.encode),
}


@st.composite
def inputs(draw: st.DrawFn, name: str) -> Input:
    described = draw(st.text(st.characters(codec="utf-8"), max_size=8))
    if draw(st.booleans()):
        dtype = draw(st.sampled_from(sorted(DEFAULTS)))
        items = draw(st.lists(DEFAULTS[dtype], min_size=1, max_size=3))
        shape = draw(st.sampled_from([None, ("n",), (len(items),)]))
        return Input(name, dtype, shape, default=items, description=described)
    return Input(name, draw(st.sampled_from(["", *DTYPES])), draw(shapes), None, draw(st.booleans()), described)


@st.composite
def outputs(draw: st.DrawFn, name: str) -> Output:
    some = st.none() | st.floats(0, 1e300)
    ulp = draw(st.none() | st.integers(0, 9))
    return Output(name, draw(st.sampled_from(["", *DTYPES])), draw(shapes), draw(some), draw(some), ulp)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    ins = [draw(inputs(name)) for name in draw(st.lists(names, max_size=3, unique=True))]
    outs = [draw(outputs(name)) for name in draw(st.lists(names, max_size=3, unique=True))]
    return Problem(draw(names), draw(st.text(max_size=3).filter(str.isprintable)), tuple(ins), tuple(outs))


@given(problems())
def test_every_problem_survives_its_file(tmp_path_factory: pytest.TempPathFactory, problem: Problem) -> None:
    file = tmp_path_factory.getbasetemp() / "any.toml"
    problem.to_toml(file)
    assert Problem.from_toml(file) == problem
    assert Problem.from_dict(problem.to_dict()) == problem
