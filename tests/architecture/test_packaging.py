"""The packages that are on disk are those that are installed: the list, a wheel's contents, and each way to install."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from repository import OWN_FOLDERS, ROOT, module_name, product_files, setup_cfg, wheel_name

LITTER = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info")

WHERE = """
import importlib.resources, isopod, isopod.runtime, isopod.ipc.errors, isopod.opeworker, json
typed = importlib.resources.files(isopod).joinpath("py.typed").is_file()
print(json.dumps([isopod.__file__, isopod.runtime.__file__, typed]))
"""


def test_setup_cfg_lists_the_packages_on_disk() -> None:
    on_disk = {module_name(path) for path in product_files() if path.name == "__init__.py"}
    listed = setup_cfg()["options"]["packages"].split()
    assert listed == sorted(listed)
    assert set(listed) == on_disk


def test_no_product_file_lies_outside_a_package() -> None:
    """A folder without ``__init__.py`` would be left out of the wheel, and would still import in this repository."""
    outside = [str(path) for path in product_files() if not (ROOT / path.parent / "__init__.py").exists()]
    assert outside == []


def test_prototypes_are_no_part_of_the_product() -> None:
    """``prototypes/`` holds what was tried and measured. That no wheel has it is seen below."""
    assert (ROOT / "prototypes").is_dir()
    assert not [path for path in product_files() if "prototypes" in (ROOT / path).read_text(encoding="utf-8")]
    assert "prototypes" not in (ROOT / "setup.cfg").read_text(encoding="utf-8")


def build(source: Path, kind: str, out: Path) -> Path:
    """Builds with the setuptools beside us, without a download. ``kind`` is ``wheel`` or ``sdist``."""
    out.mkdir(exist_ok=True)
    code = f"import sys; from setuptools.build_meta import build_{kind} as build; build(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(out)]
        if sys.version_info >= (3, 11)
        else [sys.executable, "-c", code, str(out)],
        cwd=source,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = out.iterdir()
    return made


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the repository: a build leaves folders in its source."""
    return Path(shutil.copytree(ROOT, tmp_path / "tree", ignore=LITTER))


@pytest.mark.parametrize("via", ["tree", "sdist"])
def test_a_wheel_holds_the_four_folders_and_nothing_else(via: str, tree: Path, tmp_path: Path) -> None:
    source = tree
    if via == "sdist":
        with tarfile.open(build(tree, "sdist", tmp_path / "sdist")) as archive:
            archive.extractall(tmp_path / "unpacked", filter="data")
        (source,) = (tmp_path / "unpacked").iterdir()
    with zipfile.ZipFile(build(source, "wheel", tmp_path / "wheel")) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == {wheel_name(path) for path in product_files()} | {"isopod/py.typed"}


def where(python: Path, folder: Path) -> list[str | bool]:
    """Imports the library with ``folder`` as the working directory (and so first on the path), and says from where."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([str(python), "-c", WHERE], cwd=folder, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answer: list[str | bool] = json.loads(done.stdout)
    return answer


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", ["wheel", "normal", "editable"])
def test_install(mode: str, tree: Path, tmp_path: Path) -> None:
    venv, elsewhere = tmp_path / "venv", tmp_path / "elsewhere"
    elsewhere.mkdir()
    what = {
        "wheel": lambda: [str(build(tree, "wheel", tmp_path / "wheel"))],
        "normal": lambda: [str(tree)],
        "editable": lambda: ["-e", str(tree)],
    }[mode]()
    done = subprocess.run([sys.executable, ROOT / "tools/install.py", venv, *what], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    top, runtime, typed = where(venv / "bin/python", elsewhere)
    home = tree if mode == "editable" else next(venv.glob("lib/python*/site-packages"))
    assert top == str(home / "isopod/__init__.py")
    assert runtime == str(home / ("runtime/__init__.py" if mode == "editable" else "isopod/runtime/__init__.py"))
    assert typed
    if mode == "editable":
        # In the repository's root, isopod/ shadows what is installed; the import hook still knows the other three.
        assert where(venv / "bin/python", tree) == [top, runtime, typed]


def is_editable() -> bool:
    spec = importlib.util.find_spec("isopod.runtime")
    return spec is not None and spec.origin == str(ROOT / "runtime/__init__.py")


@pytest.mark.skipif(not is_editable(), reason="isopod is not installed from this repository in editable mode")
@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", "import isopod.runtime, isopod.ipc.errors, isopod.opeworker"],
        ["-m", "isopod", "--help"],
        ["-m", "pytest", "--version"],
    ],
    ids=" ".join,
)
def test_the_root_is_a_place_to_work_in(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_room_is_a_top_level_name_in_tests() -> None:
    """``python -m pytest`` puts the root on the path; a second copy of a module would be a second set of errors."""
    loaded = {name.partition(".")[0] for name in sys.modules}
    assert loaded.isdisjoint(set(OWN_FOLDERS) - {"isopod"})
