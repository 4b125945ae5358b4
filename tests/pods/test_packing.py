"""``isopod.pack``: a Python class with its environment, tried in a fresh worker; and what it refuses to pack."""

from __future__ import annotations

import io
import json
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import isopod
from isopod.runtime.pods import examples, open_pod
from isopod.runtime.pods.inspecting import inspect

MODEL = """\
import os
import helper

class Scaled:
    def __init__(self, factor=1, weights=None):
        self.factor = factor
        self.bias = float(open(weights).read()) if weights else 0.0

    def __call__(self, x):
        return {"y": x * self.factor + self.bias + helper.ONE}

def double(x):
    return {"y": x * 2}

class Outer:
    class Inner:
        def __call__(self, x):
            return {"y": x * 7}
"""
X = np.arange(4, dtype=np.float32)
MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "scaled.py").write_text(MODEL)
    (tmp_path / "helper.py").write_text("ONE = 1\n")
    (tmp_path / "bias.txt").write_text("0.5")
    return tmp_path / "scaled.py"


def packed(model: Path, place: Path, what: str = "Scaled", **options: Any) -> Path:
    given: dict[str, Any] = {"code": [model.with_name("helper.py")], "test_inputs": {"x": X}, **options}
    return isopod.pack(place, f"{model}:{what}", **given)


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "folder"])
def test_a_class_with_its_arguments_code_and_data(model: Path, tmp_path: Path, pod_home: Path, as_zip: bool) -> None:
    place = packed(
        model, tmp_path / "scaled.pod",
        args={"factor": 3, "weights": "{data}/b.txt"},
        data={"b.txt": tmp_path / "bias.txt"},
        test_outputs={"y": X * 3 + 1.5},
        limits={"timeout": 20.0},
        metadata={"description": "Scales"},
        as_zip=as_zip,
    )  # fmt: skip
    assert place.is_file() == as_zip
    for name in ("scaled.py", "helper.py", "bias.txt"):
        (tmp_path / name).unlink()  # what it needs is in it
    with isopod.load(place) as loaded:
        assert loaded.name == "Scaled"
        assert loaded.inputs == (isopod.TensorSpec("x", "float32", (None,), required=False),)
        assert (loaded(x=X)["y"] == X * 3 + 1.5).all()
    found = inspect(place)
    assert found.verified
    assert found.config.section.metadata == {"description": "Scales"}
    assert not list(tmp_path.glob(".*packing*"))


@pytest.mark.parametrize(("what", "factor"), [("double", 2), ("Outer.Inner", 7)])
def test_a_function_and_a_nested_class(model: Path, tmp_path: Path, pod_home: Path, what: str, factor: int) -> None:
    place = packed(model, tmp_path / "f.pod", what, test_outputs={"y": X * factor})
    with isopod.load(place, timeout=60) as loaded:
        assert (loaded(x=X)["y"] == X * factor).all()


def test_the_same_model_gives_the_same_bytes(model: Path, tmp_path: Path) -> None:
    one = packed(model, tmp_path / "one.pod", test_outputs={"y": X + 1})
    two = packed(model, tmp_path / "two.pod", test_outputs={"y": X + 1})
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"test_outputs": {"y": X}}, r"4 of 4 values differ, as .*1\.0.* where .*0\.0.* was expected at \(0,\)"),
        ({"test_outputs": {"y": X[:2]}}, r"'y' has the shape \(4,\), and \(2,\) was expected"),
        ({"test_outputs": {"y": X + 1, "z": X}, "outputs": [{"name": "y", "dtype": "float32", "shape": [None]},
          {"name": "z", "dtype": "float32", "shape": [None]}]}, "the model gave no 'z'; it gave y"),
        ({"test_outputs": {"y": X.astype(np.int32)}}, r"output 'y' is float32 \(4,\); expected int32"),
        ({"outputs": [{"name": "y", "dtype": "float32", "shape": [5]}]}, "dimension 0 is 4, not 5"),
        ({"outputs": [{"name": "y", "dtype": "float32", "shape": []}]}, "it has 1 dimensions, not 0"),
        ({"outputs": [{"name": "other", "dtype": "float32", "shape": [4]}]}, "there is no output 'y'; there are other"),
        ({"inputs": [{"name": "x", "dtype": "float64", "shape": []}], "outputs": []}, "expected float64 "),
        ({"inputs": [{"name": "x", "dtype": "what", "shape": [None]}]}, "the dtype 'what'"),
        ({"outputs": None}, "give outputs, or test_outputs"),
        ({"test_inputs": None}, "give inputs, or test_inputs"),
        ({"code": [], "test_outputs": {"y": X + 1}}, "No module named 'helper'"),
        ({"code": ["missing.py"], "test_outputs": {"y": X}}, r"there is no file missing\.py"),
        ({"what": "Missing", "test_outputs": {"y": X}}, "there is no class or function 'Missing'"),
        ({"args": {"factor": X}, "test_outputs": {"y": X}}, "args go into the pod as JSON"),
        ({"versions": "newest", "test_outputs": {"y": X}}, "'newest' is not a range"),
        ({"ops": ["missing.so"], "test_outputs": {"y": X}}, r"there is no file missing\.so"),
        ({"env": isopod.Env.current(), "test_outputs": {"y": X}}, "cannot go into a pod"),
    ],
)  # fmt: skip
def test_what_is_not_packed_leaves_nothing(model: Path, tmp_path: Path, options: dict[str, Any], match: str) -> None:
    place = tmp_path / "x.pod"
    with pytest.raises((ValueError, isopod.ModelError), match=match):
        packed(model, place, **options)
    assert not place.exists()
    assert not list(tmp_path.glob(".*packing*"))


def test_what_is_there_is_never_replaced(model: Path, tmp_path: Path) -> None:
    place = tmp_path / "x.pod"
    place.write_text("mine")
    with pytest.raises(isopod.SpecError, match="exists already"):
        packed(model, place, test_outputs={"y": X + 1})
    assert place.read_text() == "mine"


def test_a_symbol_that_its_test_contradicts(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text("def f(x, y):\n    return {'z': x}\n")
    spec = [{"name": name, "dtype": "float32", "shape": ["n"]} for name in "xy"]
    with pytest.raises(isopod.SpecError, match="dimension 0 is 2, but n is 4 by input 'x'"):
        isopod.pack(
            tmp_path / "f.pod", f"{tmp_path / 'f.py'}:f", inputs=spec, outputs=spec[:1],
            test_inputs={"x": X, "y": X[:2]},
        )  # fmt: skip


VALUES: dict[str, Any] = {
    "numbers": np.array([[1.5, np.nan], [np.inf, -0.0]]),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "strided": np.arange(6, dtype=np.int8)[::2],
    "scalar": np.float32(2.5),
    "zero": np.array(3, np.uint16),
    "empty": np.empty((0, 3), np.complex64),
    "bool": np.array([True, False]),
    "bytes": np.array([b"ab", b"c"]),
    "bfloat16": np.array([1.5, 2.5], ml_dtypes.bfloat16),
    "float8": np.array([[1.5]], ml_dtypes.float8_e4m3fn),
    "text": np.array(["🦐 shrimp", "é", ""]),
    "objects": np.array([["a", "b\0"]], dtype=object),
    "plain": {"deep": [1, None, "x", 2.5]},
}


def test_values_are_kept_without_a_pickle(tmp_path: Path) -> None:
    examples.write(tmp_path, "all", examples.Example(VALUES, {"numbers": VALUES["numbers"]}, "everything", 0.1, 0.2))
    read = examples.read(tmp_path, "all")
    assert (read.description, read.rtol, read.atol) == ("everything", 0.1, 0.2)
    for name, value in VALUES.items():
        got = read.inputs[name]
        if isinstance(value, (np.ndarray, np.generic)):
            assert got.shape == value.shape
            assert got.dtype in (value.dtype, object)
            assert got.tobytes() == np.asarray(value).tobytes() if got.dtype != object else (got == value).all()
        else:
            assert got == value
    with np.load(tmp_path / "examples/all.npz", allow_pickle=False) as arrays:
        assert len(arrays.files) == 10 + 1
        for name in arrays.files:
            assert not arrays[name].dtype.hasobject
    with pytest.raises(isopod.SpecError, match="holds a value of type int"):
        examples.write(tmp_path, "bad", examples.Example({"x": np.array([1], dtype=object)}))
    with pytest.raises(isopod.SpecError, match="is a set"):
        examples.write(tmp_path, "bad", examples.Example({"x": {1}}))


class Writes:
    """Its pickle writes a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (eval, (f"open({str(self.path)!r}, 'w').close()",))


def test_a_pickle_is_never_opened(model: Path, tmp_path: Path, pod_home: Path) -> None:
    """As Neuropod's test data, and in the place of an example's arrays."""
    spoken = tmp_path / "spoken"
    place = packed(model, tmp_path / "x.pod", test_outputs={"y": X + 1}, as_zip=False)
    (place / "manifest.json").unlink()
    (place / "test_data.pkl").write_bytes(pickle.dumps(Writes(spoken)))
    stream = io.BytesIO()
    np.save(stream, np.array([Writes(spoken)], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(place / "examples/test.npz", "w") as arrays:
        for name in ("inputs-0", "outputs-1"):
            arrays.writestr(f"{name}.npy", stream.getvalue())
    assert inspect(place).pickled
    with pytest.raises(isopod.SpecError, match="no plain array of numbers"):
        examples.read(place, "test")
    with isopod.load(place, timeout=60) as loaded:
        assert (loaded(x=X)["y"] == X + 1).all()
    with zipfile.ZipFile(tmp_path / "y.zip", "w") as archive:
        for path in place.rglob("*"):
            archive.write(path, path.relative_to(place))
    assert inspect(tmp_path / "y.zip").pickled
    opened = open_pod(tmp_path / "y.zip")
    opened.release()
    assert not spoken.exists()
    pickle.loads((place / "test_data.pkl").read_bytes())  # and it would have
    assert spoken.exists()


@pytest.mark.parametrize(
    ("document", "match"),
    [
        ("{}", "does not say inputs"),
        ('{"inputs": {"x": 3}}', "a value of the wrong form"),
        ('{"inputs": {"x": {"array": "missing"}}}', "its array 'missing' is not there"),
        ('{"inputs": {"x": {"text": ["a"], "shape": [2]}}}', "a value of the wrong form"),
        ('{"inputs": {}, "rtol": -1}', "rtol is -1"),
    ],
)
def test_an_example_that_is_wrong(document: str, match: str, tmp_path: Path) -> None:
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples/bad.json").write_text(document)
    with pytest.raises(isopod.SpecError, match=match):
        examples.read(tmp_path, "bad")


def test_an_array_that_claims_more_than_it_has(tmp_path: Path) -> None:
    examples.write(tmp_path, "big", examples.Example({"x": X}))
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)})
    with zipfile.ZipFile(tmp_path / "examples/big.npz", "w") as arrays:
        arrays.writestr("inputs-0.npy", stream.getvalue())
    with pytest.raises(isopod.SpecError, match="no plain array"):
        examples.read(tmp_path, "big")


@pytest.mark.slow
@pytest.mark.network
def test_what_it_needs_is_locked(tmp_path: Path, pod_home: Path) -> None:
    (tmp_path / "sixth.py").write_text("import six\ndef f(x):\n    return {'y': x, 'version': six.__version__}\n")
    place = isopod.pack(
        tmp_path / "sixth.pod", f"{tmp_path / 'sixth.py'}:f",
        env=isopod.Env(["six==1.16.0", "numpy<3"], python=MINOR),
        inputs=[{"name": "x", "dtype": "float32", "shape": [None]}],
        outputs=[isopod.TensorSpec("y", "float32", (None,)), isopod.TensorSpec("version", "text", ())],
        test_inputs={"x": X},
    )  # fmt: skip
    with zipfile.ZipFile(place) as archive:
        lock = archive.read("pylock.toml").decode()
        assert 'name = "six"' in lock
        assert "hashes" in lock
        assert b"six==1.16.0" in archive.read("0/requirements.lock").splitlines()
    opened = open_pod(place)
    assert opened.env.lock == str(opened.folder / "pylock.toml")
    assert opened.env.python == MINOR
    opened.release()
    with isopod.load(place, timeout=60) as loaded:
        assert loaded(x=X)["version"] == "1.16.0"
    facts = inspect(place).facts()
    assert facts["environment"]["requirements"] == ["six==1.16.0", "numpy<3"]
    assert json.dumps(facts)
