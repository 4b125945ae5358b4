"""What a started child has loaded, and what it looks like: nothing of the application, nothing before its time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import isopod
from isopod import Env


@pytest.fixture(scope="module")
def report(_supervisor_at_rest: None, models: Path) -> dict[str, Any]:
    with isopod.load(models / "reports.py:modules") as model:
        return dict(model())


def test_only_ours_and_numpy_are_loaded(report: dict[str, list[str]]) -> None:
    modules = report["modules"]
    roots = {name.partition(".")[0] for name in modules}
    assert not roots & {
        "posix_ipc",
        "msgpack",
        "psutil",
        "uv",
        "packaging",
        "rich",
        "pytest",
        "hypothesis",
        "ml_dtypes",
    }
    ours = {name for name in modules if name.partition(".")[0] == "isopod"}
    assert "isopod.ipc.transfer" in ours
    assert "isopod.opeworker.serve" in ours
    for name in ours - {"isopod", "isopod.worker"}:
        assert name.startswith(("isopod.ipc", "isopod.opeworker")), name
    foreign = {root for root in roots if not root.startswith("_")} - set(sys.stdlib_module_names)
    assert foreign <= {"isopod", "numpy", "reports", "sitecustomize", "usercustomize", "distutils"}


def test_the_path_holds_no_folder_of_the_application_but_its_environment(report: dict[str, Any]) -> None:
    path = report["path"]
    here = str(Path(isopod.__file__).resolve().parent.parent)
    assert here not in path
    assert not [folder for folder in path if folder.startswith(here + os.sep) and "site-packages" not in folder and
                not folder.endswith("models")]  # fmt: skip
    assert "" not in path
    assert report["flags"] == [1, 1]


def test_a_model_sees_an_ordinary_process(models: Path) -> None:
    os.environ["PYTHONSTARTUP_OF_A_TEST"] = "x"
    try:
        env = Env.current(variables={"OF_THE_MODEL": "1"})
        with isopod.load(models / "reports.py:surroundings", name="a-long-name-of-a-model", env=env) as model:
            seen = model()
            pid = model.health.pid
    finally:
        del os.environ["PYTHONSTARTUP_OF_A_TEST"]
    assert seen["argv"] == ["isopod-worker"]
    assert seen["environ"]["OF_THE_MODEL"] == "1"
    assert not [name for name in seen["environ"] if name.startswith("PYTHON")]
    assert seen["session"]
    assert seen["group"]
    assert seen["sigint"]
    assert seen["name"] == "iso:a-long-name"
    assert seen["prefix"] == sys.prefix
    assert pid is not None
    named = [
        target for target in seen["fds"] if not target.startswith(("pipe:", "socket:", "/proc/", "/memfd:", "/dev/"))
    ]
    assert named == []


def test_numpy_is_not_there_before_the_environment_is(tmp_path: Path, models: Path) -> None:
    """A ``.pth`` file of the environment runs while it becomes active: it writes down what is loaded by then."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    seen = tmp_path / "seen.json"
    (site / "spy.pth").write_text(f"import sys, json; json.dump(sorted(sys.modules), open({str(seen)!r}, 'w'))\n")
    numpy_home = Path(sys.modules["numpy"].__file__ or "").resolve().parent.parent
    (site / "zz_numpy.pth").write_text(f"{numpy_home}\n")
    with isopod.load(models / "basic.py:Scale", env=venv) as model:
        assert model(x=1)["y"] == 1
    loaded = json.loads(seen.read_text())
    assert not [name for name in loaded if name.partition(".")[0] == "numpy"]
    assert "isopod.opeworker.link" in loaded
    assert "isopod.opeworker.serve" not in loaded
