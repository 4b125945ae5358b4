"""Pods of our own platforms: one file of a framework, with its options, and what it takes and gives read from it.

Each is packed in an environment that is locked on the way, and loaded in the one that the pod then asks for.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends.environments import environment
from backends.files import WRITERS, write
from backends.kinds import KINDS, Kind
from pods import neuropod_packages as packages

import isopod
from isopod.cli.parser import main
from isopod.runtime.pods import layout, open_pod, peek
from isopod.runtime.pods.inspecting import inspect

X = np.arange(6, dtype=np.float32).reshape(2, 3)
SHAPES = {"onnx": ["batch", 3], "keras": [None, 3], "sklearn": ["rows", 3]}
SMALL, LARGE = ("onnx", "joblib", "skops", "pickle"), ("pt2", "keras 3")
each_kind = pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, id=kind.id, marks=[pytest.mark.full] if kind.id in LARGE else [])
        for kind in KINDS
        if kind.id in SMALL + LARGE
    ],
)


def lockable(name: str) -> isopod.Env:
    """What a pod can say of an environment: not the variables of this machine."""
    return dataclasses.replace(environment(name), variables={})


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(900)
@each_kind
def test_a_file_is_packed_and_says_itself_what_it_takes(
    kind: Kind, tmp_path: Path, pod_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    file = kind.write(tmp_path)
    place = isopod.pack(tmp_path / "x.pod", file, env=lockable(kind.env), test_inputs={kind.given: X})
    file.unlink()  # what it needs is in it
    says = peek(place)
    (given,), (returned,) = says.inputs, says.outputs
    assert says.platform in layout.OF_FILES
    assert (given.name, given.dtype, given.required) == (kind.given, "float32", True)
    assert (returned.name, returned.dtype) == (kind.returned, kind.out_dtype)
    if says.platform in SHAPES:
        assert list(given.shape or ()) == SHAPES[says.platform]
    else:  # torch.export numbers its symbols
        assert given.shape is not None
        assert given.shape == returned.shape
        assert isinstance(given.shape[0], str)
    with isopod.load(place, timeout=120) as model:
        np.testing.assert_allclose(model({kind.given: X})[kind.returned], X * 2 + 1, rtol=1e-5)
        assert model.inputs == says.inputs
        with pytest.raises(isopod.SpecError, match=f"input '{kind.given}' is float64"):
            model({kind.given: X.astype(np.float64)})
        with pytest.raises(isopod.SpecError, match=f"needs the input '{kind.given}'"):
            model({})
        np.testing.assert_allclose(model({kind.given: X})[kind.returned], X * 2 + 1, rtol=1e-5)
    facts = inspect(place).facts()
    assert (facts["platform"], facts["verified"]) == (says.platform, True)
    assert facts["environment"]["lock"] == "pylock.toml"
    strict = isopod.Sandbox("strict", scratch=64 << 20)  # torch.export unpacks its file
    with isopod.load(place, env=environment(kind.env), sandbox=strict, timeout=120) as model:
        assert model({kind.given: X})[kind.returned].shape == (2, 3)


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.full
@pytest.mark.timeout(900)
def test_layers_of_a_models_own_go_with_it(tmp_path: Path, pod_home: Path) -> None:
    env = "tensorflow 2.21"
    write(tmp_path, "keras", env, [("own layer", "own.keras")])
    with pytest.raises((isopod.SpecError, isopod.ModelError), match="Triple"):
        isopod.pack(tmp_path / "x.pod", tmp_path / "own.keras", env=lockable(env))
    options = {"imports": [str(WRITERS / "own_layer.py")]}
    place = isopod.pack(tmp_path / "x.pod", tmp_path / "own.keras", env=lockable(env), options=options, as_zip=False)
    assert (place / "0/code/own_layer.py").is_file()
    with isopod.load(place, env=environment(env), timeout=120) as model:
        assert model(x=X[:1])["y"].tolist() == (X[:1] * 3).tolist()


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(900)
def test_options_and_several_outputs_are_kept(tmp_path: Path, pod_home: Path) -> None:
    """Of a classifier the dtypes of its outputs are seen, where they are not given."""
    env = "scikit-learn 1.9.1"
    write(tmp_path, "sklearn", env, [("forest", "forest.skops"), ("columns", "columns.pkl")])
    trusted = {"trusted": ["sklearn.tree._tree.Tree"]}
    with pytest.raises(isopod.SpecError, match="types that skops does not trust"):
        isopod.pack(tmp_path / "forest.pod", tmp_path / "forest.skops", env=lockable(env), test_inputs={"X": X})
    place = isopod.pack(
        tmp_path / "forest.pod", tmp_path / "forest.skops", env=lockable(env), test_inputs={"X": X}, options=trusted
    )
    assert [(spec.name, spec.dtype, spec.shape) for spec in peek(place).outputs] == [
        ("predict", "text", ("rows",)),
        ("predict_proba", "float64", ("rows", 2)),
    ]
    with isopod.load(place, timeout=60) as model:
        assert model(X=X)["predict_proba"].shape == (2, 2)
    assert main(["inspect", str(place), "--test", "--env", str(environment_of(env))]) == 0
    columns = dict(zip("abc", X.T.astype(np.float64), strict=True))
    place = isopod.pack(tmp_path / "columns.pod", tmp_path / "columns.pkl", env=lockable(env), test_inputs=columns)
    with isopod.load(place, env=environment(env), timeout=60) as model:
        assert [spec.name for spec in model.inputs] == ["a", "b", "c"]
        assert model(columns)["predict"].shape == (2,)


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(900)
def test_the_command_packs_a_file_with_its_weights_beside(
    tmp_path: Path, pod_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = "onnxruntime 1.23"
    write(tmp_path, "onnx", env, [("external", "net.onnx")])
    command = ["pack", str(tmp_path / "net.pod"), str(tmp_path / "net.onnx"), "--python", "3.11"]
    command += ["--requirement", "onnxruntime==1.23.*", "--option", 'providers=["CPUExecutionProvider"]']
    assert main([*command, "--data", str(tmp_path / "weights.bin")]) == 0
    assert main(["inspect", str(tmp_path / "net.pod"), "--json", "--test"]) == 0
    facts = json.loads(capsys.readouterr().out.partition("{")[2].join(["{", ""]))
    assert facts["platform_config"] == {"model": "model.onnx", "options": {"providers": ["CPUExecutionProvider"]}}
    assert facts["inputs"] == [{"name": "x", "dtype": "float32", "shape": ["batch", 3], "device": "GPU"}]
    assert facts["files"]["0/data/weights.bin"] == 24
    for beside in ("net.onnx", "weights.bin"):
        (tmp_path / beside).unlink()
    with isopod.load(tmp_path / "net.pod", env=environment(env), timeout=60) as model:
        assert model(x=X)["y"].tolist() == (X * 2 + 1).tolist()


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("given", "returned", "match"),
    [
        ({"dtype": "float64"}, {}, "declares the input 'x' as float64, and the model has it as float32"),
        ({"shape": ["n"]}, {}, r"input 'x' with the shape \(n\), and the model has it with \(batch, 3\)"),
        ({"shape": ["n", 4]}, {}, r"input 'x' with the shape \(n, 4\), and the model has it with \(batch, 3\)"),
        ({"name": "z"}, {}, "declares the input 'z', and the model has none of that name; it has x"),
        ({}, {"name": "z"}, "declares the output 'z', and the model has none of that name; it has y"),
        ({}, {"dtype": "int8"}, "declares the output 'y' as int8, and the model has it as float32"),
    ],
)
def test_specs_that_contradict_the_model(given: Any, returned: Any, match: str, tmp_path: Path) -> None:
    env = "onnxruntime 1.23"
    write(tmp_path, "onnx", env, [("double", "double.onnx")])
    spec = {"name": "x", "dtype": "float32", "shape": ["batch", 3]}
    files = {
        "config.json": packages.config("onnx", [{**spec, **given}], [{**spec, "name": "y", **returned}]),
        "0/config.json": b'{"model": "model.onnx"}',
        "0/data/model.onnx": (tmp_path / "double.onnx").read_bytes(),
    }
    with pytest.raises(isopod.SpecError, match=match):
        isopod.load(packages.as_folder(files, tmp_path / "pod"), env=environment(env))


def environment_of(name: str) -> Path:
    from isopod.runtime.environment import prepare

    prepared = prepare(environment(name))
    assert prepared.hold is not None
    prepared.hold.release()
    return prepared.prefix


def test_an_engine_is_packed_without_a_gpu_and_names_what_it_needs(tmp_path: Path, pod_home: Path) -> None:
    (tmp_path / "net.engine").write_bytes(b"ftrt" + bytes(60))
    spec = [{"name": "x", "dtype": "float32", "shape": ["n"]}]
    place = isopod.pack(tmp_path / "net.pod", tmp_path / "net.engine", inputs=spec, outputs=[{**spec[0], "name": "y"}])
    assert inspect(place).facts()["platform_config"] == {"model": "model.engine", "options": {}}
    with pytest.raises(
        isopod.SpecError, match=r"a tensorrt model runs on the versions that it was built with: give env"
    ):
        isopod.load(place)
    with pytest.raises(isopod.SpecError, match="has no tensorrt"):
        isopod.load(place, env=isopod.Env.current())
    with pytest.raises(isopod.SpecError, match="a tensorrt model runs on the versions"):
        isopod.pack(tmp_path / "other.pod", tmp_path / "net.engine")


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("m.joblib", {}, r"read by the scikit-learn that wrote it .*env=isopod\.Env\(\['scikit-learn==…'\]\)"),
        ("m.joblib", {"args": {"a": 1}}, "args and code are for models in Python"),
        ("m.joblib", {"versions": "~1.9", "data": ["m.joblib"]}, "weights beside an ONNX file"),
        ("m.joblib", {"versions": "~1.9", "options": {"imports": []}}, "no option 'imports'; it has methods, trusted"),
        ("m.engine", {"options": {"a": 1}}, "a tensorrt pod has no option 'a'; it has none"),
        ("m.txt", {}, "in no format that is known here"),
    ],
)
def test_what_is_not_packed(name: str, options: dict[str, Any], match: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes({".joblib": b"\x80\x04.", ".engine": b"ftrt"}.get(Path(name).suffix, b"text"))
    with pytest.raises(isopod.SpecError, match=match):
        isopod.pack(tmp_path / "x.pod", tmp_path / name, **{"test_inputs": {"x": X}, **options})
    assert not (tmp_path / "x.pod").exists()


@pytest.mark.parametrize(
    ("own", "match"),
    [
        (None, "names its model's file"),
        ({}, "model is None"),
        ({"model": "missing.onnx"}, r"'missing\.onnx' is no file in 0/data/"),
        ({"model": "../../config.json"}, "is no file in 0/data/"),
        ({"model": "model.onnx", "options": []}, "options is .*, not an object"),
        ({"model": "model.onnx", "options": {"imports": "x.py"}}, "imports is 'x.py', not a list"),
        ({"model": "model.onnx", "options": {"imports": ["../../x.py"]}}, "is no file in 0/code/"),
        ({"model": "model.onnx", "options": {"imports": [3]}}, "is no file in 0/code/"),
    ],
)
def test_a_config_that_is_wrong(own: Any, match: str, tmp_path: Path) -> None:
    files = {"config.json": packages.config("onnx"), "0/data/model.onnx": b"\x08\x08"}
    if own is not None:
        files["0/config.json"] = json.dumps(own).encode()
    with pytest.raises(isopod.SpecError, match=match):
        peek(packages.as_folder(files, tmp_path / "pod"))


@pytest.mark.parametrize(
    ("platform", "name", "versions", "requirements"),
    [
        ("onnx", "model.onnx", "~1.16", ["onnxruntime<1.17,>=1.15,>=1.16", "numpy<2"]),
        ("sklearn", "model.skops", "~1.6", ["scikit-learn<1.7,>=1.5,>=1.6", "skops"]),
        ("keras", "model.keras", "^3", ["keras<4,>=3", "tensorflow>=2.16"]),
        ("pytorch", "model.pt2", "~2.1", ["torch<2.2,>=2.1", "numpy<2"]),
    ],
)
def test_what_a_pod_without_an_environment_gets(
    platform: str, name: str, versions: str, requirements: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isopod.runtime.pods.frameworks.find_interpreter", lambda request: request)
    files = {
        "config.json": packages.config(platform, platform_version_semver=versions),
        "0/config.json": json.dumps({"model": name}).encode(),
        f"0/data/{name}": b"",
    }
    found = open_pod(packages.as_folder(files, tmp_path / "pod")).env.requirements
    assert [set(one.replace("<", ",<").replace(">", ",>").split(",")) for one in found] == [
        set(one.replace("<", ",<").replace(">", ",>").split(",")) for one in requirements
    ]
