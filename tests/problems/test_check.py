"""The compiled check of a call, against a slow oracle that knows nothing of it; and what its errors say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from isopod import Input, ModelError, Output, Problem, SpecError, TensorSpec
from isopod.runtime.interface import Interface
from isopod.runtime.problems.check import Check
from isopod.runtime.problems.contract import Contract

# ------------------------------------------------------------------ the oracle

Declared = Sequence[tuple[str, str, tuple[Any, ...] | None]]  # name, dtype, shape
INTEGERS = {f"{sign}int{bits}": (sign, bits) for sign in ("", "u") for bits in (8, 16, 32, 64)}


def is_right(declared: Declared, values: Mapping[str, Any], cast: str | None) -> bool:
    """Whether values are as declared, read off the rules one after the other."""
    sizes: set[tuple[str, int]] = set()
    for name, dtype, shape in declared:
        value = values[name]
        if dtype == "" and shape is None:
            continue
        if isinstance(value, list):
            if cast is None or dtype == "":
                return False
            value = np.array(value)
        if type(value) in (bool, int, float, str, bytes):  # numpy's own scalars have a dtype
            if not (scalar_is(value, dtype) and shape in (None, ())):
                return False
            continue
        if not isinstance(value, np.ndarray | np.generic):
            return False
        if dtype and not dtype_is(np.asarray(value).dtype, dtype, cast):
            return False
        if shape is not None:
            if len(shape) != len(value.shape):
                return False
            for axis in range(len(shape)):
                if isinstance(shape[axis], int) and shape[axis] != value.shape[axis]:
                    return False
                if isinstance(shape[axis], str):
                    sizes.add((shape[axis], value.shape[axis]))
    return len(sizes) == len({symbol for symbol, _ in sizes})


def dtype_is(found: np.dtype[Any], wanted: str, cast: Any) -> bool:
    if wanted == "text":
        return found.kind in "UTO"
    if wanted == "bytes":
        return found.kind == "S"
    if found.kind in "UTOS":
        return False
    target = np.dtype(getattr(ml_dtypes, wanted, wanted))
    if found.newbyteorder("<") == target.newbyteorder("<"):
        return True
    return cast is not None and found.kind not in "Mm" and np.can_cast(found, target, cast)


def scalar_is(value: Any, wanted: str) -> bool:
    if wanted == "":
        return True
    if type(value) is bool:
        return wanted == "bool"
    if type(value) is str:
        return wanted == "text"
    if type(value) is bytes:
        return wanted == "bytes"
    if type(value) is int and wanted in INTEGERS:
        sign, bits = INTEGERS[wanted]
        low, high = (0, 2**bits) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1))
        return bool(low <= value < high)
    return wanted.startswith(("float", "bfloat", "complex"))


# ------------------------------------------------------------------ what is drawn

DTYPES = ["", "float32", "float64", "int32", "int64", "uint8", "bool", "complex64", "bfloat16", "text", "bytes"]
dims = st.none() | st.integers(0, 3) | st.sampled_from(["n", "m", "k"])
declarations = st.lists(
    st.tuples(st.sampled_from(DTYPES), st.none() | st.lists(dims, max_size=3).map(tuple)), min_size=1, max_size=4
).map(lambda rows: [(f"x{number}", *row) for number, row in enumerate(rows)])


def array(dtype: str, shape: tuple[int, ...], how: str) -> Any:
    if dtype == "text":
        kinds: list[Any] = ["U3", object]
        if hasattr(np, "dtypes") and hasattr(np.dtypes, "StringDType"):
            kinds.append(np.dtypes.StringDType())
        filled = np.full(shape, "abc", object)
        return filled.astype(kinds[len(shape) % len(kinds)])
    if dtype == "bytes":
        return np.full(shape, b"ab", "S2")
    made = np.zeros(shape, np.dtype(getattr(ml_dtypes, dtype, dtype)) if dtype else np.int16)
    if how == "big-endian" and dtype != "bfloat16":
        return made.astype(made.dtype.newbyteorder(">"))
    return made[()] if how == "scalar" and not shape else made


@st.composite
def calls(draw: st.DrawFn) -> tuple[Any, dict[str, Any]]:
    """A declaration, and values that are near it: most of them are right, or wrong in one place."""
    declared = draw(declarations)
    sizes = draw(st.fixed_dictionaries({name: st.integers(0, 3) for name in ("n", "m", "k")}))
    plain = st.booleans() | st.integers(-300, 300) | st.floats(allow_nan=False) | st.text(max_size=2) | st.binary()
    odd = st.just({}) | st.just([[1, 2], [3, 4]]) | st.just([1.5]) | st.just(object())
    values = {}
    for name, dtype, shape in declared:
        actual = [
            draw(st.integers(0, 3)) if dim is None else sizes[dim] if isinstance(dim, str) else dim
            for dim in (draw(st.lists(dims, max_size=2)) if shape is None else shape)
        ]
        if actual and draw(st.integers(0, 7)) == 0:
            actual[draw(st.integers(0, len(actual) - 1))] += 1
        if draw(st.integers(0, 11)) == 0:
            actual.append(1)
        given = dtype if draw(st.integers(0, 5)) else draw(st.sampled_from(DTYPES))
        how = draw(st.sampled_from(["native", "native", "big-endian", "scalar"]))
        value = array(given, tuple(actual), how)
        values[name] = draw(plain | odd) if draw(st.integers(0, 9)) == 0 else value
    return declared, values


@given(calls(), st.sampled_from([None, "safe", "same_kind"]))
def test_the_check_and_the_oracle_agree(call: tuple[Declared, dict[str, Any]], cast: Any) -> None:
    declared, values = call
    right = is_right(declared, values, cast)
    check = Check("input", [TensorSpec(*row) for row in declared], cast)
    instead, faults = check.examine(values)
    event(f"right: {right}, cast: {cast}")
    assert (not faults) == right, faults
    if check.fits(values):
        assert right
        assert instead == {}
    for name, dtype, _ in declared:
        if right and name in instead and dtype not in ("", "text", "bytes"):
            assert instead[name].dtype.newbyteorder("=") == np.dtype(getattr(ml_dtypes, dtype, dtype))
            np.testing.assert_array_equal(instead[name], np.asarray(values[name]).astype(instead[name].dtype))


@given(calls())
def test_plain_arrays_that_are_right_take_the_quick_way(call: tuple[Declared, dict[str, Any]]) -> None:
    """Or the benchmark would measure what nobody has. Big-endian ones, and extended dtypes, take it or not."""
    declared, values = call
    if is_right(declared, values, None) and all(
        type(value) is np.ndarray and value.dtype.isnative for value in values.values()
    ):
        assert Check("input", [TensorSpec(*row) for row in declared]).fits(values)


# ------------------------------------------------------------------ an interface


def interface(problem: Problem | None = None, own: Sequence[TensorSpec] = (), **options: Any) -> Interface:
    fields = {"inputs": [spec.fields() for spec in own], "outputs": [], "open": not own}
    return Interface("net", fields, Contract(problem, **options))


PAIR = Problem(
    "pair",
    "2",
    inputs=(
        Input("x", "float32", ("n", 3)),
        Input("y", "float64", ("n",)),
        Input("scale", "float32", (), default=0.5),
        Input("mask", "bool", ("n",), required=False),
    ),
    outputs=(Output("z", "float32", ("n", "m")), Output("total", "int64", ())),
    shared=("n",),
)
X, Y = np.zeros((2, 3), np.float32), np.zeros(2)


def test_what_is_right_is_sent_as_it_is() -> None:
    inputs = {"x": X, "y": Y, "scale": np.float32(1), "mask": np.ones(2, bool)}
    assert dict(interface(PAIR).admit(inputs)) == inputs
    whole = {**inputs, "scale": np.array(1, np.float32)}
    assert interface(PAIR).admit(whole) is whole


def test_defaults_fill_what_is_not_given_and_nothing_else() -> None:
    given = {"x": X, "y": Y}
    sent = interface(PAIR).admit(given)
    assert given.keys() == {"x", "y"}
    assert sent.keys() == {"x", "y", "scale"}
    assert (sent["scale"].dtype, sent["scale"].shape, float(sent["scale"])) == (np.float32, (), 0.5)
    assert interface(PAIR, check=False).admit({"x": 1, "y": 2}).keys() == {"x", "y", "scale"}


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        ({"x": X.astype("f8")}, ["input 'x' is float64 (2, 3)", "expected float32 (n, 3)", "x.astype('float32')"]),
        ({"x": X.astype("f8")}, ["cast='same_kind'"]),
        ({"x": X[0]}, ["input 'x' is float32 (3,)", "it has 1 dimensions, not 2"]),
        ({"x": X[:, :2]}, ["input 'x' is float32 (2, 2)", "dimension 1 is 2, not 3"]),
        ({"y": np.zeros(5)}, ["input 'y' is float64 (5,)", "with n=2", "dimension 0 is 5, but n is 2 by input 'x'"]),
        ({"y": np.zeros(5), "x": X.T}, ["input 'x' is float32 (3, 2)", "\n  input 'y'", "n is 3 by input 'x'"]),
        ({"scale": "much"}, ["input 'scale' is a str; expected float32 ()", "it is no float32"]),
        ({"scale": [1.0]}, ["input 'scale' is a list", "load the model with a cast"]),
        ({"x": 3}, ["input 'x' is the int 3; expected float32 (n, 3)", "it is a scalar; give an array with 2"]),
        ({"x": {}}, ["input 'x' is a dict", "it is no array"]),
        ({"x": np.zeros((2, 3), "M8[s]")}, ["input 'x' is datetime64[s] (2, 3)"]),
        ({"z": 1}, ["has no input 'z'; it takes x, y, scale, mask"]),
        ({1: 1}, ["inputs are given by name, which is str, not 1"]),
    ],
)
def test_an_error_names_the_input_what_was_expected_what_came_and_the_symbols(
    change: dict[Any, Any], facts: list[str]
) -> None:
    with pytest.raises(SpecError) as caught:
        interface(PAIR).admit({"x": X, "y": Y, **change})
    for fact in ["model 'net'", *facts]:
        assert fact in str(caught.value)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(SpecError, match=r"model 'net' \(problem 'pair' 2\) needs the input 'y', which was not given"):
        interface(PAIR).admit({"x": X})


def test_casting_is_done_when_asked_and_only_as_far_as_asked() -> None:
    halves = {"x": X.astype("f2"), "y": Y.astype("f4"), "scale": [1][0]}
    sent = interface(PAIR, cast="safe").admit(halves)
    assert [sent[name].dtype for name in ("x", "y")] == [np.float32, np.float64]
    assert sent["scale"] == 1
    assert type(sent["scale"]) is int
    with pytest.raises(SpecError, match="is int64, not float32, and safe casting does not allow that"):
        interface(PAIR, cast="safe").admit({"x": X.astype("i8"), "y": Y})
    assert interface(PAIR, cast="same_kind").admit({"x": X.astype("i8"), "y": Y})["x"].dtype == np.float32
    listed = interface(PAIR, cast="same_kind").admit({"x": [[1.0, 2, 3]], "y": [4.0]})
    assert (listed["x"].tolist(), listed["x"].dtype) == ([[1, 2, 3]], np.float32)
    with pytest.raises(SpecError, match="input 'x' is float32"):
        interface(PAIR, cast="same_kind").admit({"x": X[:, :1], "y": Y.astype("f4")})


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        ({"cast": "unsafe"}, "cast is 'safe' or 'same_kind', or None, not 'unsafe'"),
        ({"cast": "safe", "check": False}, "which check=False switches off"),
        ({"problem": 3}, "problem is an isopod.Problem or the path"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], fact: str) -> None:
    with pytest.raises(SpecError, match=fact):
        Contract(**options)


def test_without_a_check_only_names_are_looked_at() -> None:
    assert interface(PAIR, check=False).admit({"x": "anything", "y": None})["x"] == "anything"
    assert interface(PAIR, check=False).verdict({}) is None
    with pytest.raises(SpecError, match="no input 'q'"):
        interface(PAIR, check=False).admit({"x": 1, "y": 2, "q": 3})


def test_a_model_that_says_what_it_takes_is_checked_without_a_problem() -> None:
    own = [TensorSpec("x", "float32", ("n", 3)), TensorSpec("y", "", ("n",)), TensorSpec("z", "quaternion")]
    one = interface(None, own)
    whole = {"x": X, "y": Y, "z": object()}
    assert one.admit(whole) is whole
    assert one.verdict(whole) is None
    with pytest.raises(SpecError, match=r"^model 'net': input 'y' is int64 \(7,\); expected any dtype \(n,\) with n=2"):
        one.admit({"x": X, "y": np.zeros(7, int), "z": 1})


# ------------------------------------------------------------------ outputs


def test_outputs_are_judged_with_the_sizes_of_the_inputs() -> None:
    verdict = interface(PAIR).verdict({"x": X, "y": Y})
    assert verdict is not None
    good = {"z": np.zeros((2, 9), np.float32), "total": 3, "extra": object()}
    assert verdict(good) is None
    assert verdict({**good, "total": np.array(3)}) is None
    for change, facts in (
        ({"z": np.zeros((3, 9), np.float32)}, ["output 'z'", "with n=2", "dimension 0 is 3, but n is 2 by the inputs"]),
        ({"z": np.zeros((2, 9))}, ["its dtype is float64, not float32"]),
        ({"total": 0.5}, ["output 'total' is the float 0.5; expected int64 ()"]),
    ):
        error = verdict({**good, **change})
        assert isinstance(error, ModelError)
        for fact in ["model 'net' did not keep to problem 'pair' 2: ", *facts]:
            assert fact in str(error)
        assert "astype" not in str(error)
    missing = verdict({"extra": 1})
    assert "output 'z' is missing; it gave extra\n  output 'total' is missing" in str(missing)


def test_a_symbol_that_is_not_shared_is_two_sizes() -> None:
    apart = Problem("p", inputs=PAIR.inputs, outputs=PAIR.outputs)
    verdict = interface(apart).verdict({"x": X, "y": Y})
    assert verdict is not None
    assert verdict({"z": np.zeros((3, 9), np.float32), "total": 3}) is None


def test_a_shared_symbol_of_an_input_that_was_left_out_binds_nothing() -> None:
    one = Problem(
        "p", inputs=(Input("x", "", ("n",), required=False),), outputs=(Output("y", "", ("n",)),), shared=("n",)
    )
    verdict = interface(one).verdict({})
    assert verdict is not None
    assert verdict({"y": np.zeros(3)}) is None


# ------------------------------------------------------------------ what a model says of itself


@pytest.mark.parametrize(
    ("own", "outputs", "facts"),
    [
        ([TensorSpec("x", "float32", ("b", 3)), TensorSpec("y")], [], []),
        ([TensorSpec("x", "float32", (None, None)), TensorSpec("y"), TensorSpec("more", required=False)], [], []),
        ([TensorSpec("x"), TensorSpec("y")], [TensorSpec("z", "float32", ("q", None)), TensorSpec("total")], []),
        ([TensorSpec("x", "quaternion"), TensorSpec("y")], [], []),
        ([TensorSpec("x", "float64"), TensorSpec("y")], [], ["input 'x' is float32, and it takes float64"]),
        ([TensorSpec("x", "", (3,)), TensorSpec("y")], [], ["(n, 3), of 2 dimensions, and the model's is (3,), of 1"]),
        ([TensorSpec("x", "", (None, 4)), TensorSpec("y")], [], ["dimension 1 is 3, and the model's is 4"]),
        (
            [TensorSpec("x", "", (1, 3)), TensorSpec("y")],
            [],
            ["dimension 0 is n, of any size, and the model takes only 1"],
        ),
        ([TensorSpec("x", "", ("a", "a")), TensorSpec("y")], [], ["are one size to the model (a)"]),
        ([TensorSpec("x")], [], ["input 'y' is unknown to it: it takes x"]),
        (
            [TensorSpec("x"), TensorSpec("y"), TensorSpec("q")],
            [],
            ["it needs the input 'q', which the problem does not"],
        ),
        (
            [TensorSpec("x"), TensorSpec("y"), TensorSpec("mask")],
            [],
            ["needs the input 'mask', which callers may leave out"],
        ),
        ([], [TensorSpec("z")], ["output 'total' is missing: it gives z"]),
        ([], [TensorSpec("z", "float64"), TensorSpec("total")], ["output 'z' is float32, and it gives float64"]),
        (
            [TensorSpec("x", "int8", (1,)), TensorSpec("q")],
            [TensorSpec("z", "", (1, 2, 3))],
            [
                "'y' is unknown",
                "needs the input 'q'",
                "takes int8",
                "'x' is (n, 3)",
                "'total' is missing",
                "'z' is (n, m)",
            ],
        ),
    ],
)
def test_every_contradiction_is_in_one_error(
    own: list[TensorSpec], outputs: list[TensorSpec], facts: list[str]
) -> None:
    given: dict[str, Any] = {
        "inputs": [one.fields() for one in own],
        "outputs": [one.fields() for one in outputs],
        "open": not own,
    }
    if own and len(own) > 1:
        given["inputs"] += [
            TensorSpec(name, required=False).fields()
            for name in ("scale", "mask")
            if name not in [spec.name for spec in own]
        ]
    made = Interface("net", given, Contract(PAIR))
    if not facts:
        made.check_agreement()
        return
    with pytest.raises(SpecError, match="model 'net' does not implement problem 'pair' 2:\n  ") as caught:
        made.check_agreement()
    for fact in facts:
        assert fact in str(caught.value)
    with pytest.raises(SpecError, match="does not implement"):  # also of a worker that came later
        made.admit({"x": X, "y": Y})


def test_what_a_model_is_asked_for_is_completed_by_its_own_words() -> None:
    one = Problem("p", inputs=(Input("x", "float32"), Input("y", "", ("n",))), outputs=(Output("z", "int8"),))
    fields = {
        "inputs": [TensorSpec("y", "int64", ("q",)).fields(), TensorSpec("x", "", ("n", 2)).fields()],
        "outputs": [],
        "open": False,
    }
    made = Interface("net", fields, Contract(one))
    assert made.inputs == (TensorSpec("y", "int64", ("n",)), TensorSpec("x", "float32", ("model's n", 2)))
    assert made.outputs == (TensorSpec("z", "int8"),)
    made.admit({"x": np.zeros((3, 2), np.float32), "y": np.zeros(5, np.int64)})
