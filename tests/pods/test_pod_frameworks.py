"""Neuropod packages of each framework's platform, made by hand, with frameworks of their time and of today."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conflicts.environments import ENVIRONMENTS, had
from conflicts.ops import FAMILIES, compiled
from pods import neuropod_packages as packages
from pythons import need

import isopod
from isopod import neuropod

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.full, pytest.mark.timeout(900)]

HERE = Path(__file__).resolve().parent
TORCHES = ["torch 1.12.1", "torch 2.13.0"]
TENSORFLOWS = ["tensorflow 1.15.5", "tensorflow 2.21"]
X, Y = np.arange(4, dtype=np.float32), np.ones(4, np.float32)

each_form = pytest.mark.parametrize("write", [packages.as_folder, packages.as_zip], ids=["folder", "zip"])
Write = Callable[[packages.Files, Path], Path]


def made(what: str, framework: str, path: Path, **options: Any) -> dict[str, Any]:
    """A model file, written by a framework in a worker."""
    had(framework)
    with isopod.load(f"{HERE / 'framework_models.py'}:{what}", env=ENVIRONMENTS[framework]) as writer:
        return dict(writer(path=str(path), **options))


def files_in(folder: Path, under: str) -> packages.Files:
    return {f"{under}/{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_addition(place: Path, framework: str, expected: np.ndarray[Any, Any]) -> None:
    with isopod.load(place, env=ENVIRONMENTS[framework], timeout=120) as model:
        assert sorted(spec.name for spec in model.inputs) == ["x", "y"]
        assert [spec.name for spec in model.outputs] == ["out"]
        assert (model(x=X, y=Y)["out"] == expected).all()
        with pytest.raises(isopod.SpecError, match="'z'"):
            model(x=X, z=Y)
        assert (model(x=X, y=Y)["out"] == expected).all()


@each_form
@pytest.mark.parametrize("framework", TORCHES)
def test_torchscript(framework: str, write: Write, tmp_path: Path, pod_home: Path) -> None:
    made("torchscript", framework, tmp_path / "model.pt")
    files = {"config.json": packages.config("torchscript"), "0/data/model.pt": (tmp_path / "model.pt").read_bytes()}
    check_addition(write(packages.with_manifest(files), tmp_path / "pod"), framework, X + Y)


def test_torchscript_that_returns_one_tensor(tmp_path: Path, pod_home: Path) -> None:
    made("torchscript", TORCHES[1], tmp_path / "model.pt", module="one")
    files = {"config.json": packages.config("torchscript"), "0/data/model.pt": (tmp_path / "model.pt").read_bytes()}
    check_addition(packages.as_folder(files, tmp_path / "pod"), TORCHES[1], X + Y)


@each_form
@pytest.mark.parametrize("framework", TENSORFLOWS)
def test_a_frozen_graph(framework: str, write: Write, tmp_path: Path, pod_home: Path) -> None:
    made("frozen_graph", framework, tmp_path / "model.pb")
    own = {"node_name_mapping": {"x": "in_x:0", "y": "in_y", "out": "scope/out:0"}, "init_op_names": []}
    files = {
        "config.json": packages.config("tensorflow"),
        "0/config.json": json.dumps(own).encode(),
        "0/data/model.pb": (tmp_path / "model.pb").read_bytes(),
    }
    check_addition(write(files, tmp_path / "pod"), framework, X + 2 * Y)


@each_form
@pytest.mark.parametrize("framework", TENSORFLOWS)
def test_a_saved_model(framework: str, write: Write, tmp_path: Path, pod_home: Path) -> None:
    made("saved_model", framework, tmp_path / "saved")
    own: dict[str, Any] = {"node_name_mapping": {}, "init_op_names": []}
    files = {
        "config.json": packages.config("tensorflow"),
        "0/config.json": json.dumps(own).encode(),
        **files_in(tmp_path / "saved", "0/data/savedmodel"),
    }
    check_addition(write(packages.with_manifest(files), tmp_path / "pod"), framework, X + 2 * Y)


def test_what_keras_packagers_made(tmp_path: Path, pod_home: Path) -> None:
    """A frozen graph on the platform tensorflow, with the batch as a symbol."""
    nodes = made("keras_frozen", "tensorflow 1.15.5", tmp_path / "model.pb")
    files = {
        "config.json": packages.config(
            "tensorflow",
            [{"name": "x", "dtype": "float32", "shape": ["batch_size", 3]}],
            [{"name": "out", "dtype": "float32", "shape": ["batch_size", 2]}],
        ),
        "0/config.json": json.dumps({"node_name_mapping": nodes, "init_op_names": []}).encode(),
        "0/data/model.pb": (tmp_path / "model.pb").read_bytes(),
    }
    place = packages.as_zip(files, tmp_path / "keras.zip")
    for framework in TENSORFLOWS:  # written in 2019, and run by both
        with isopod.load(place, env=ENVIRONMENTS[framework], timeout=120) as model:
            assert (model(x=np.ones((5, 3), np.float32))["out"] == 4).all()


@pytest.mark.parametrize("version", FAMILIES[0].versions)
def test_custom_ops_of_a_package(version: str, tmp_path: Path, pod_home: Path) -> None:
    library = compiled(FAMILIES[0], version)
    made("torchscript", f"torch {version}", tmp_path / "model.pt", module="smooth", op=str(library))
    spec = [{"name": "x", "dtype": "float32", "shape": ["series", "steps"]}]
    files = {
        "config.json": packages.config("torchscript", spec, [{**spec[0], "name": "out"}], custom_ops=["smooth.so"]),
        "0/data/model.pt": (tmp_path / "model.pt").read_bytes(),
        "0/ops/smooth.so": library.read_bytes(),
    }
    place = packages.as_zip(packages.with_manifest(files), tmp_path / "smooth.zip")
    with isopod.load(place, env=ENVIRONMENTS[f"torch {version}"], timeout=120) as model:
        assert model(x=np.array([[0, 4]], np.float32))["out"].tolist() == [[0.0, 2.0]]


def test_an_eager_pytorch_package(tmp_path: Path, pod_home: Path) -> None:
    """Such packages are of the platform python; the weights are among their data."""
    code = (
        "import os, torch\n"
        "class Model(torch.nn.Module):\n"
        "    def forward(self, x, y):\n"
        "        return {'out': (torch.from_numpy(x) + torch.from_numpy(y)).numpy()}\n"
        "def get_model(data):\n"
        "    assert os.path.isdir(data)\n"
        "    return Model()\n"
    )
    files = packages.python_package({"addition_model.py": code}, "addition_model")
    place = packages.as_zip({**files, "0/data/weights.txt": b""}, tmp_path / "eager.zip")
    for framework in TORCHES:
        had(framework)
        check_addition(place, framework, X + Y)


@pytest.mark.parametrize(
    ("platform", "versions", "kind", "framework"),
    [("torchscript", "~1.12.1", "torchscript", TORCHES[0]), ("tensorflow", "1.15.5", "frozen_graph", TENSORFLOWS[0])],
)
def test_the_framework_of_its_range_is_built(
    platform: str, versions: str, kind: str, framework: str, tmp_path: Path, pod_home: Path
) -> None:
    """Without an environment: the newest version that the package allows, on a Python that has wheels of it."""
    suffix = "pt" if platform == "torchscript" else "pb"
    made(kind, framework, tmp_path / f"model.{suffix}")
    own = {"node_name_mapping": {"x": "in_x", "y": "in_y", "out": "scope/out"}, "init_op_names": []}
    files = {
        "config.json": packages.config(platform, platform_version_semver=versions),
        "0/config.json": json.dumps(own).encode(),
        f"0/data/model.{suffix}": (tmp_path / f"model.{suffix}").read_bytes(),
    }
    with isopod.load(packages.as_zip(files, tmp_path / "pod.zip"), timeout=120) as model:
        assert (model(x=X, y=Y)["out"] == X + Y * (1 if platform == "torchscript" else 2)).all()


def test_neuropod_users_package_torchscript(tmp_path: Path, pod_home: Path) -> None:
    common: dict[str, Any] = {
        "model_name": "addition_model", "input_spec": packages.X_AND_Y, "output_spec": packages.OUT,
        "test_input_data": {"x": X, "y": Y}, "env": ENVIRONMENTS[TORCHES[1]],
    }  # fmt: skip
    made("torchscript", TORCHES[1], tmp_path / "model.pt")
    place = tmp_path / "good.zip"
    neuropod.create_torchscript_neuropod(
        neuropod_path=place, module_path=tmp_path / "model.pt", test_expected_out={"out": X + Y}, **common
    )
    with neuropod.load_neuropod(place, env=ENVIRONMENTS[TORCHES[1]]) as model:
        assert (model.infer({"x": X, "y": Y})["out"] == X + Y).all()
        with pytest.raises(RuntimeError, match=r"'x' .* it has 2 dimensions, not 1"):
            model.infer({"x": X[None], "y": Y})
    os.unlink(tmp_path / "model.pt")
    made("torchscript", TORCHES[1], tmp_path / "model.pt", module="twice")
    with pytest.raises(RuntimeError, match="'out'"):  # two outputs of one name
        neuropod.create_torchscript_neuropod(
            neuropod_path=tmp_path / "twice.zip", module_path=tmp_path / "model.pt", **common
        )
    assert not (tmp_path / "twice.zip").exists()


def test_pack_custom_ops(tmp_path: Path, pod_home: Path) -> None:
    library = compiled(FAMILIES[0], "2.13.0")
    made("torchscript", TORCHES[1], tmp_path / "model.pt", module="smooth", op=str(library))
    place = isopod.pack(
        tmp_path / "smooth.pod", tmp_path / "model.pt", ops=[library], env=isopod.Env(["torch==2.13.0"], python="3.11"),
        test_inputs={"x": np.array([[0, 4]], np.float32)}, test_outputs={"out": np.array([[0, 2]], np.float32)},
    )  # fmt: skip
    with isopod.load(place, timeout=120) as model:
        assert model(x=np.array([[8, 4]], np.float32))["out"].tolist() == [[8.0, 6.0]]


def test_pack_a_graph(tmp_path: Path, pod_home: Path) -> None:
    need("3.11")
    made("frozen_graph", TENSORFLOWS[1], tmp_path / "model.pb")
    place = isopod.pack(
        tmp_path / "graph.pod", tmp_path / "model.pb",
        env=isopod.Env(["tensorflow-cpu==2.21.*"], python="3.11"),
        node_names={"x": "in_x", "y": "in_y", "out": "scope/out"},
        test_inputs={"x": X, "y": Y}, test_outputs={"out": X + 2 * Y},
    )  # fmt: skip
    with isopod.load(place, timeout=120) as model:
        assert (model(x=X, y=Y)["out"] == X + 2 * Y).all()
