"""``isopod.neuropod``: what Neuropod's users call, and what its own tests fix, with a package in another process."""

from __future__ import annotations

import asyncio
import inspect
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pods import neuropod_packages as packages

import isopod
from isopod import neuropod
from isopod.neuropod import loader, packagers

X = np.arange(5, dtype=np.float32)


@pytest.fixture
def code(tmp_path: Path) -> Path:
    root = tmp_path / "model_code"
    root.mkdir()
    (root / "addition_model.py").write_text(packages.ADDITION)
    return root


def create(code: Path, place: Path, **changes: Any) -> Path:
    given: dict[str, Any] = {
        "neuropod_path": str(place),
        "model_name": "addition_model",
        "data_paths": [],
        "code_path_spec": [{"python_root": str(code), "dirs_to_package": [""]}],
        "entrypoint_package": "addition_model",
        "entrypoint": "get_model",
        "input_spec": [{"name": name, "dtype": "float32", "shape": ("batch_size",)} for name in "xy"],
        "output_spec": [{"name": "out", "dtype": "float32", "shape": ("batch_size",)}],
        "test_input_data": {"x": X, "y": X},
        "test_expected_out": {"out": X + X},
        **changes,
    }
    neuropod.create_python_neuropod(**given)
    return place


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "folder"])
def test_addition(code: Path, tmp_path: Path, pod_home: Path, as_zip: bool) -> None:
    place = create(code, tmp_path / "addition", package_as_zip=as_zip)
    assert place.is_file() == as_zip
    with neuropod.load_neuropod(str(place)) as model:
        assert (model.name, model.platform) == ("addition_model", "python")
        assert model.inputs[0] == {"name": "x", "dtype": "float32", "shape": ["batch_size"]}
        assert model.outputs == [{"name": "out", "dtype": "float32", "shape": ["batch_size"]}]
        assert (model.infer({"x": X, "y": X})["out"] == X + X).all()
        assert (asyncio.run(model.infer_async({"x": X, "y": X}))["out"] == X + X).all()
        assert model.infer({"x": X[:0], "y": X[:0]})["out"].shape == (0,)


@pytest.mark.parametrize(
    ("inputs", "match"),
    [
        ({"x": X, "bogus": X}, "has no input 'bogus'; it takes x, y"),
        (
            {"x": X[None], "y": X},
            r"'x' is float32 \(1, 5\); expected float32 \(batch_size,\): it has 2 dimensions, not 1",
        ),
        ({"x": X, "y": X[:2]}, "dimension 0 is 2, but batch_size is 5 by input 'x'"),
        ({"x": X.astype(np.float64), "y": X}, "'x' is float64 .*expected float32"),
        ({"x": X}, "missing 1 required positional argument"),  # accepted by the package, refused by the model
    ],
)
def test_inputs_that_do_not_fit(code: Path, tmp_path: Path, pod_home: Path, inputs: Any, match: str) -> None:
    place = create(code, tmp_path / "addition", test_input_data=None, test_expected_out=None)
    with neuropod.load_neuropod(place) as model:
        with pytest.raises(RuntimeError, match=match):
            model.infer(inputs)
        assert (model.infer({"x": X, "y": X})["out"] == X + X).all()


@pytest.mark.parametrize(
    ("changes", "kind", "match"),
    [
        ({"test_expected_out": {"out": X}}, ValueError, "'out' is not what was expected"),
        ({"test_expected_out": {"other": X}}, ValueError, "the model gave no 'other'"),
        ({"test_input_data": {"bogus": X}}, ValueError, "there is no input 'bogus'; there are x, y"),
        ({"test_input_data": None}, ValueError, "test_expected_out is what test_input_data gives"),
        ({"entrypoint": "missing"}, ValueError, "addition_model.missing is not there"),
        ({"entrypoint_package": "missing"}, ValueError, "0/code/missing.py"),
        ({"platform_version_semver": "bogus"}, RuntimeError, "'bogus' is not a range"),
        ({"platform_version_semver": "2.7.x"}, RuntimeError, r"no Python of this machine is in '2\.7\.x'"),
        ({"input_spec": [{"name": "x", "dtype": "object", "shape": ()}]}, ValueError, "dtype 'object'"),
        ({"input_tensor_device": {"z": "GPU"}}, ValueError, "input_tensor_device: 'z'"),
        ({"default_input_tensor_device": "TPU"}, ValueError, "'TPU'"),
        ({"data_paths": [{"path": "missing", "packaged_name": "x"}]}, ValueError, "there is no file missing"),
        ({"custom_ops": ["missing.so"]}, ValueError, "there is no file missing"),
        ({"requirements": "six ===== 3"}, ValueError, "six"),
    ],
)  # fmt: skip
def test_packaging_that_fails_leaves_nothing(
    code: Path, tmp_path: Path, changes: dict[str, Any], kind: type[Exception], match: str
) -> None:
    with pytest.raises(kind, match=match) as caught:
        create(code, tmp_path / "addition", **changes)
    assert isinstance(caught.value, neuropod.NeuropodError)
    assert sorted(os.listdir(tmp_path)) == ["model_code"]


def test_a_place_that_is_taken(code: Path, tmp_path: Path) -> None:
    (tmp_path / "addition").mkdir()
    for as_zip in (True, False):
        with pytest.raises(ValueError, match="exists already"):
            create(code, tmp_path / "addition", package_as_zip=as_zip)
    with pytest.raises(ValueError, match="which goes into it"):
        create(code, code / "addition")


def test_what_is_there_is_a_runtime_error_to_load(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="there is no pod"):
        neuropod.load_neuropod(tmp_path / "missing")
    bad = packages.as_folder(packages.addition(platform_version_semver="bogus"), tmp_path / "bad")
    with pytest.raises(RuntimeError, match="is not a range"):
        neuropod.load_neuropod(bad)
    none = packages.as_folder(packages.addition(platform_version_semver="2.7.x"), tmp_path / "none")
    with pytest.raises(RuntimeError, match="no Python of this machine"):
        neuropod.load_neuropod(none)


CALLS = {"name": "calls", "dtype": "int64", "shape": ()}
STRINGS = """\
import numpy as np
from . import beside

class Concatenation:
    def __init__(self):
        self.calls = 0
    def __call__(self, x, y, times=np.int64(1)):
        self.calls += 1
        out = np.array([f"{a}{beside.BETWEEN}{b}" * int(times) for a, b in zip(x, y)])
        return {"out": out, "calls": np.array(self.calls)}

def get_model(data):
    return Concatenation()
"""


def test_strings_scalars_and_state(code: Path, tmp_path: Path, pod_home: Path) -> None:
    (code / "strings.py").write_text(STRINGS)
    (code / "beside.py").write_text("BETWEEN = ' '\n")
    x, y = np.array(["apple", "🦐", "é"]), np.array(["sauce", "👩‍👩‍👧", ""])
    expected = np.array(["apple sauce", "🦐 👩‍👩‍👧", "é "])
    place = create(
        code, tmp_path / "strings",
        entrypoint_package="strings",
        input_spec=[*({"name": name, "dtype": "string", "shape": ("n",)} for name in "xy"),
                    {"name": "times", "dtype": "int64", "shape": ()}],
        output_spec=[{"name": "out", "dtype": "string", "shape": ("n",)}, CALLS],
        test_input_data={"x": x, "y": y},
        test_expected_out={"out": expected},
    )  # fmt: skip
    with neuropod.load_neuropod(place) as model:
        out = model.infer({"x": x, "y": y})
        assert (out["out"] == expected).all()
        assert out["out"].dtype.type is np.str_
        assert out["calls"] == 1
        again = model.infer({"x": x.astype(object), "y": y, "times": np.int64(2)})
        assert again["out"][0] == "apple sauceapple sauce"
        assert again["calls"] == 2
        encoded = np.array(["🦐".encode(), b"a"])
        assert model.infer({"x": encoded, "y": y[1:]})["out"].tolist() == ["🦐 👩‍👩‍👧", "a "]
        assert model.inputs[2]["shape"] == []


def test_outputs_are_held_against_their_spec(code: Path, tmp_path: Path, pod_home: Path) -> None:
    (code / "addition_model.py").write_text(packages.ADDITION.replace("x + y", "(x + y)[None]"))
    with pytest.raises(ValueError, match=r"output 'out' .* it has 2 dimensions, not 1"):
        create(code, tmp_path / "addition")
    place = create(code, tmp_path / "addition", test_input_data=None, test_expected_out=None)
    with (
        neuropod.load_neuropod(place) as model,
        pytest.raises(RuntimeError, match=r"output 'out' .* it has 2 dimensions, not 1"),
    ):
        model.infer({"x": X, "y": X})


def test_a_package_is_tried_here_if_here_is_a_framework_of_its_range(monkeypatch: pytest.MonkeyPatch) -> None:
    from isopod.runtime.neuropod import packaging

    monkeypatch.setattr("importlib.metadata.packages_distributions", lambda: {"torch": ["torch"], "numpy": ["numpy"]})
    monkeypatch.setattr("importlib.metadata.version", lambda _: "2.13.0+cpu")
    assert packaging._trial_env("torchscript", "^2.1") == isopod.Env.current()
    assert packaging._trial_env("torchscript", "~1.12") is None
    assert packaging._trial_env("tensorflow", "*") is None
    assert packaging._trial_env("python", "*") is None


def test_the_gpu_that_it_sees(code: Path, tmp_path: Path, pod_home: Path) -> None:
    (code / "gpu.py").write_text(
        "import os\nimport numpy as np\n"
        "def get_model(_):\n    return lambda: {'out': np.array(os.environ.get('CUDA_VISIBLE_DEVICES', 'unset'))}\n"
    )
    place = create(
        code, tmp_path / "gpu", entrypoint_package="gpu", input_spec=[],
        output_spec=[{"name": "out", "dtype": "string", "shape": ()}], test_input_data={}, test_expected_out=None,
    )  # fmt: skip
    for visible, seen in ((None, "-1"), (1, "1")):
        with neuropod.load_neuropod(place, visible_gpu=visible) as model:
            assert model.infer({})["out"] == seen


def test_test_data_is_kept_or_not(code: Path, tmp_path: Path, pod_home: Path) -> None:
    kept = create(code, tmp_path / "kept", package_as_zip=False)
    assert (kept / "examples/test.json").is_file()
    assert not (kept / "test_data.pkl").exists()
    gone = create(code, tmp_path / "gone", package_as_zip=False, persist_test_data=False)
    assert not (gone / "examples").exists()
    stored = create(code, tmp_path / "stored.zip", zip_compression=False)
    assert stored.stat().st_size > create(code, tmp_path / "small.zip").stat().st_size


@pytest.mark.slow
@pytest.mark.network
def test_requirements_are_locked(code: Path, tmp_path: Path, pod_home: Path) -> None:
    (code / "addition_model.py").write_text(f"import six\nassert six.__version__ == '1.15.0'\n{packages.ADDITION}")
    place = create(code, tmp_path / "addition", requirements="six==1.15.0\n", package_as_zip=False)
    assert "six==1.15.0" in (place / "0/requirements.lock").read_text().splitlines()
    with isopod.load(place) as model:
        assert (model(x=X, y=X)["out"] == X + X).all()


def test_the_names_are_where_they_were() -> None:
    assert loader.load_neuropod is neuropod.load_neuropod
    for name in neuropod.__all__:
        assert inspect.getdoc(getattr(neuropod, name)), name
    for name in packagers.__all__:
        assert getattr(packagers, name) is getattr(neuropod, name)


@pytest.mark.parametrize(
    ("packager", "given", "match"),
    [
        (neuropod.create_torchscript_neuropod, {}, "exactly one of module, module_path, not none"),
        (neuropod.create_torchscript_neuropod, {"module": 1, "module_path": "x"}, "not module and module_path"),
        (neuropod.create_torchscript_neuropod, {"module": 1}, "a int is no TorchScript module"),
        (neuropod.create_tensorflow_neuropod, {}, "exactly one of frozen_graph_path"),
        (neuropod.create_tensorflow_neuropod, {"graph_def": 1}, "a node for each input and output, and no more: x"),
        (neuropod.create_tensorflow_neuropod, {"graph_def": 1, "node_name_mapping": {"x": "x"}}, "not a GraphDef"),
        (neuropod.create_tensorflow_neuropod, {"saved_model_dir": "x", "node_name_mapping": {"x": "y"}}, "for frozen"),
        (neuropod.create_keras_neuropod, {"model": 3}, "a int is no Keras model"),
    ],
)  # fmt: skip
def test_what_the_other_packagers_refuse(packager: Any, given: dict[str, Any], match: str, tmp_path: Path) -> None:
    common = {
        "neuropod_path": tmp_path / "x", "model_name": "x", "output_spec": [],
        "input_spec": [{"name": "x", "dtype": "float32", "shape": ()}],
    }  # fmt: skip
    with pytest.raises(ValueError, match=match):
        packager(**common, **given)
    assert os.listdir(tmp_path) == []
