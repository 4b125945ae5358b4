"""Neuropod's Python packages, made by hand, loaded as they are: folder and zip, relative imports, data, state, text."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pods import neuropod_packages as packages

import isopod

X = np.arange(5, dtype=np.float32)


@pytest.mark.parametrize("write", [packages.as_folder, packages.as_zip], ids=["folder", "zip"])
@pytest.mark.parametrize("manifest", [True, False], ids=["manifest", "bare"])
def test_a_package_loads_as_it_is(
    write: Callable[[packages.Files, Path], Path], manifest: bool, tmp_path: Path, pod_home: Path
) -> None:
    files = packages.addition()
    place = write(packages.with_manifest(files) if manifest else files, tmp_path / "addition")
    with isopod.load(place, timeout=60) as model:
        assert model.name == "addition_model"
        assert [spec.name for spec in model.inputs] == ["x", "y"]
        assert model.inputs[0] == isopod.TensorSpec("x", "float32", ("batch",), required=False)
        assert model.outputs == (isopod.TensorSpec("out", "float32", ("batch",)),)
        assert (model(x=X, y=X)["out"] == X + X).all()
        with pytest.raises(isopod.SpecError, match="no input 'z'"):
            model(x=X, z=X)
        with pytest.raises(isopod.ModelError, match="missing 1 required positional argument: 'y'"):
            model(x=X)  # a missing input is the model's own affair
        assert (model(x=X, y=X)["out"] == X + X).all()


CODE = {
    "pkg/__init__.py": "",
    "pkg/model.py": (
        "import os\nfrom . import scale\nfrom ..beside import OFFSET\nimport beside\n\n"
        "class Model:\n"
        "    def __init__(self, data):\n"
        "        with open(os.path.join(data, 'bias.txt')) as stream:\n"
        "            self.bias = float(stream.read())\n"
        "        self.calls = 0\n"
        "    def __call__(self, x):\n"
        "        self.calls += 1\n"
        "        assert beside.OFFSET == OFFSET\n"
        "        return {'y': x * scale.FACTOR + self.bias + OFFSET, 'calls': self.calls}\n"
    ),
    "pkg/scale.py": "FACTOR = 3\n",
    "beside.py": "OFFSET = 100\n",
}


def test_code_data_and_state(tmp_path: Path) -> None:
    """Its modules import one another, relatively and by name; it reads its data, and keeps its state."""
    x, y, calls = (
        {"name": name, "dtype": dtype, "shape": []}
        for name, dtype in (("x", "float32"), ("y", "float32"), ("calls", "int64"))
    )
    files = packages.python_package(CODE, "pkg.model", "Model", inputs=[x], outputs=[y, calls])
    place = packages.as_folder({**files, "0/data/bias.txt": b"0.5"}, tmp_path / "pod")
    with isopod.load(place, timeout=60) as model:
        assert model(x=np.float32(2))["y"] == 106.5
        assert model(x=np.float32(2))["calls"] == 2


def test_two_models_with_one_entry_point_name(tmp_path: Path) -> None:
    other = packages.ADDITION.replace("x + y", "x - y")
    one = packages.as_folder(packages.addition(), tmp_path / "one")
    two = packages.as_folder(packages.python_package({"addition_model.py": other}, "addition_model"), tmp_path / "two")
    with isopod.load(one, timeout=60) as plus, isopod.load(two, timeout=60) as minus:
        assert (plus(x=X, y=X)["out"] == X + X).all()
        assert not minus(x=X, y=X)["out"].any()


def test_reload_takes_the_pod_as_it_is_then(tmp_path: Path, pod_home: Path) -> None:
    place = packages.as_zip(packages.addition(), tmp_path / "model.zip")
    with isopod.load(place, timeout=60) as model:
        assert (model(x=X, y=X)["out"] == X + X).all()
        place.unlink()
        other = packages.ADDITION.replace("x + y", "x * y")
        packages.as_zip(packages.python_package({"addition_model.py": other}, "addition_model"), place)
        model.reload()
        assert (model(x=X, y=X)["out"] == X * X).all()
        folder = packages.as_folder(packages.addition(), tmp_path / "folder")
        model.reload(folder)
        assert (model(x=X, y=X)["out"] == X + X).all()


@pytest.mark.parametrize(
    ("code", "error", "match"),
    [
        ("def other(_): pass\n", isopod.SpecError, "entry point addition_model.get_model is not there"),
        ("def get_model(_): return 3\n", isopod.SpecError, "returned a int, no model"),
        ("def get_model(_): raise OSError('no weights')\n", isopod.ModelError, "no weights"),
    ],
)
def test_an_entry_point_that_fails(code: str, error: type[Exception], match: str, tmp_path: Path) -> None:
    files = packages.python_package({"addition_model.py": code}, "addition_model")
    with pytest.raises(error, match=match):
        isopod.load(packages.as_folder(files, tmp_path / "pod"))


def test_limits_of_the_pod_hold_unless_load_says_otherwise(tmp_path: Path) -> None:
    code = (
        "import time\nfrom isopod import worker\n"
        "def get_model(_):\n    return lambda: {'left': worker.deadline() - time.monotonic()}\n"
    )
    files = packages.python_package({"addition_model.py": code}, "addition_model", inputs=[])
    limits = b"[limits]\ntimeout = 500.0\nmax-rss = 100_000_000_000\nworkers = 1000\n"
    place = packages.as_folder({**files, "isopod.toml": limits}, tmp_path / "pod")
    with isopod.load(place) as model:
        assert 400 < model()["left"] <= 500
        assert len(model.health.workers) <= (os.cpu_count() or 1)
    with isopod.load(place, timeout=1000, workers=1) as model:
        assert 900 < model()["left"] <= 1000
        assert len(model.health.workers) == 1


SPY = """\
import os

def get_model(data):
    def tried(path, mode):
        try:
            with open(path, mode) as stream:
                return stream.read() if mode == "r" else "written"
        except OSError as error:
            return error.strerror
    weights = tried(os.path.join(data, "weights.txt"), "r")
    return lambda path: {"own": weights, "other": tried(str(path), "r"), "wrote": tried(os.path.join(data, "x"), "w")}
"""


@pytest.mark.parametrize("write", [packages.as_folder, packages.as_zip], ids=["folder", "zip"])
def test_a_pod_asks_for_the_strict_sandbox(
    write: Callable[[packages.Files, Path], Path], tmp_path: Path, pod_home: Path
) -> None:
    """It reads its own files then, wherever they were unpacked, and nothing else of its user's."""
    text = {"name": "path", "dtype": "string", "shape": []}
    files = packages.python_package({"spy.py": SPY}, "spy", inputs=[text], outputs=[])
    strict = b'[sandbox]\nprofile = "strict"\n'
    place = write({**files, "0/data/weights.txt": b"mine", "isopod.toml": strict}, tmp_path / "spy.zip")
    secret = tmp_path / "secret.txt"
    secret.write_text("yours")
    with isopod.load(place, timeout=60) as model:
        assert model.sandbox_report().holds("processors")
        assert dict(model(path=str(secret))) == {
            "own": "mine", "other": "Permission denied", "wrote": "Permission denied",
        }  # fmt: skip
    with isopod.load(place, timeout=60, sandbox="none") as model:  # the caller's word counts
        assert model(path=str(secret))["other"] == "yours"
