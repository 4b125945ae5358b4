"""The versions that a package names hold for the environment that a caller gives, too: of a framework or of Python."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends.environments import environment
from backends.kinds import KINDS
from pods import neuropod_packages as packages
from repository import ROOT

import isopod
from isopod import neuropod
from isopod.opeworker import versions
from isopod.runtime.formats import BACKENDS
from isopod.runtime.pods import semver

HERE = "{}.{}.{}".format(*sys.version_info[:3])
X = np.ones((1, 3), np.float32)
PLATFORMS = {  # of a kind of model: its platform, where the model lies, and the package whose versions are meant
    "torchscript 2": ("torchscript", "0/data/model.pt", "torch"),
    "torchscript 1": ("torchscript", "0/data/model.pt", "torch"),
    "pt2": ("pytorch", "0/data/model.pt2", "torch"),
    "saved model 2": ("tensorflow", "0/data/savedmodel", "tensorflow"),
    "graph 1": ("tensorflow", "0/data/model.pb", "tensorflow"),
    "keras 3": ("keras", "0/data/model.keras", "keras"),
    "keras 2": ("keras", "0/data/model.keras", "keras"),
    "onnx": ("onnx", "0/data/model.onnx", "onnxruntime"),
    "pickle": ("sklearn", "0/data/model.pkl", "scikit-learn"),
}
IN_RANGE = {
    "torchscript 2": "^2.1", "torchscript 1": "1.12.1", "pt2": ">=2.5 <3", "saved model 2": "^2.15",
    "graph 1": "1.15.x", "keras 3": "3.x", "keras 2": "2.15.0", "onnx": "1.22.x || 1.23.x", "pickle": "~1.9.0",
}  # fmt: skip
OUT_OF_RANGE = {
    "torchscript 2": "^1.12", "torchscript 1": "1.12.0", "pt2": ">=3", "saved model 2": "1.x", "graph 1": "^2",
    "keras 3": "2.x", "keras 2": "3.x", "onnx": "<1.23", "pickle": "1.2.2 || 1.3.0",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.id in PLATFORMS], ids=lambda kind: kind.id)
def test_a_framework_out_of_range_is_refused_and_one_in_it_is_not(kind: Any, tmp_path: Path) -> None:
    platform, where, package = PLATFORMS[kind.id]
    file = kind.write(tmp_path)
    (tmp_path / "pod").mkdir()
    given = [{"name": kind.given, "dtype": "float32", "shape": [None, 3]}]
    returned = [{"name": kind.returned, "dtype": kind.out_dtype, "shape": [None, 3]}]
    for range_, fits in ((OUT_OF_RANGE[kind.id], False), (IN_RANGE[kind.id], True)):
        files = {
            "config.json": packages.config(platform, given, returned, platform_version_semver=range_),
            "0/config.json": f'{{"model": "{Path(where).name}"}}'.encode(),
        }
        if file.is_dir():
            files |= {f"{where}/{p.relative_to(file)}": p.read_bytes() for p in file.rglob("*") if p.is_file()}
        else:
            files[where] = file.read_bytes()
        place = packages.as_folder(files, tmp_path / "pod")
        if not fits:
            told = rf"model 'm' .*: the package is for {package} {re.escape(range_)}, and its environment has \d+\.\d"
            with pytest.raises(isopod.SpecError, match=rf"{told}.*Env\(\['{package}"):
                isopod.load(place, env=environment(kind.env), name="m")
        else:
            with isopod.load(place, env=environment(kind.env), timeout=120) as model:
                np.testing.assert_allclose(model({kind.given: X})[kind.returned], X * 2 + 1, rtol=1e-5)


def test_each_backend_asks_its_framework_for_its_version() -> None:
    for backend in set(BACKENDS.values()):
        source = (ROOT / f"opeworker/backends/{backend}.py").read_text(encoding="utf-8")
        assert "order.check_version(" in source, backend


def test_a_python_out_of_range_is_refused_before_a_worker_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = packages.as_folder(packages.addition(platform_version_semver="3.7.x || 3.8.x"), tmp_path / "pod")
    with monkeypatch.context() as patch:
        patch.setattr("isopod.runtime.deployment.Deployment.start", lambda *_: pytest.fail("a worker was started"))
        for given in ({"env": isopod.Env.current()}, {"python": sys.executable}):
            with pytest.raises(
                isopod.SpecError, match=rf"is for Python 3\.7\.x \|\| 3\.8\.x, and .* has {re.escape(HERE)}: give an"
            ):
                isopod.load(place, **given)
    with pytest.raises(RuntimeError, match=r"is for Python 3\.7\.x"):
        neuropod.load_neuropod(place, env=isopod.Env.current())
    place = packages.as_folder(packages.addition(platform_version_semver=f">={HERE}"), tmp_path / "fits")
    with isopod.load(place, env=isopod.Env.current(), timeout=60) as model:
        assert model(x=X[0], y=X[0])["out"].tolist() == [2, 2, 2]


def test_an_environment_of_a_pods_own_is_held_against_its_range(tmp_path: Path) -> None:
    said = f'[environment]\npython = "{sys.version_info[0]}.{sys.version_info[1]}"\n'.encode()
    files = {**packages.addition(platform_version_semver="2.7.x"), "isopod.toml": said}
    with pytest.raises(isopod.SpecError, match=r"is for Python 2\.7\.x"):
        isopod.load(packages.as_folder(files, tmp_path / "pod"))


@pytest.mark.parametrize(
    ("version", "range_", "fits"),
    [
        ("1.15.5", "^1.12", True),
        ("2.0.0", "^1.12", False),
        ("1.12.1+cu113", "1.12.1", True),
        ("2.13.0+cpu", "2.13.x", True),
        ("2.21.0-rc1", "~2.21.0", True),  # a pre-release is taken for its release
        ("1.23", "1.23.0", True),
        ("2.2.4-tf", "2.x", True),
        ("3.0.0", "1.x || >=2.5 <3", False),
        ("2.6.1", "1.x || >=2.5 <3", True),
        ("10.0.1.6", ">10.0.1", True),
        ("unknown", ">=1", False),
        ("unknown", "*", True),
    ],
)
def test_a_worker_reads_a_range_as_its_parent_does(version: str, range_: str, fits: bool) -> None:
    wanted = semver.bounds(range_)
    if fits:
        versions.check("torch", version, wanted)
    else:
        with pytest.raises(isopod.SpecError, match=f"torch {re.escape(range_)}, and its environment has"):
            versions.check("torch", version, wanted)
    if version[0].isdigit() and "-" not in version:
        assert semver.satisfies(version, range_) == fits
