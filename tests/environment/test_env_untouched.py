"""Environments that are there are never modified: a model is loaded in each kind, and the tree is as it was before.

A conda or pixi prefix is a whole installation of Python with a ``conda-meta`` folder, and no ``pyvenv.cfg``. These are
made from a copy of the base interpreter, with the record that conda writes of each package.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest

import isopod
from isopod import Env
from isopod.runtime.environment import prepare

MINOR = f"python{sys.version_info[0]}.{sys.version_info[1]}"
MODEL = """\
import sys, helper

def where():
    return {"prefix": sys.prefix, "executable": sys.executable, "helper": helper.__file__}
"""


def _venv(folder: Path) -> tuple[Path, Path]:
    venv.create(folder / "made", symlinks=True, with_pip=False)
    return folder / "made", folder / "made"


def _conda(folder: Path) -> tuple[Path, Path]:
    return _installation(folder / "miniforge3" / "envs" / "made"), folder / "miniforge3"


def _pixi(folder: Path) -> tuple[Path, Path]:
    return _installation(folder / "project" / ".pixi" / "envs" / "default"), folder / "project"


def _installation(prefix: Path) -> Path:
    base = Path(sys.base_prefix)
    (prefix / "bin").mkdir(parents=True)
    shutil.copy2(base / "bin" / MINOR, prefix / "bin" / MINOR)
    for name in ("python", "python3"):
        (prefix / "bin" / name).symlink_to(MINOR)
    for library in base.glob("lib/libpython*"):
        (prefix / "lib").mkdir(exist_ok=True)
        shutil.copy2(library, prefix / "lib", follow_symlinks=False)
    left_out = shutil.ignore_patterns("site-packages", "test", "tests", "__pycache__", "idlelib", "ensurepip", "*.a")
    shutil.copytree(base / "lib" / MINOR, prefix / "lib" / MINOR, symlinks=True, ignore=left_out)
    (prefix / "lib" / MINOR / "site-packages").mkdir()
    version = ".".join(map(str, sys.version_info[:3]))
    record = {"name": "python", "version": version, "build": "0_cpython", "build_number": 0, "files": [f"bin/{MINOR}"]}
    (prefix / "conda-meta").mkdir()
    (prefix / "conda-meta" / f"python-{version}-0_cpython.json").write_text(json.dumps(record))
    (prefix / "conda-meta" / "history").write_text("")
    return prefix


def _tree(root: Path, *, bytecode: bool) -> dict[str, object]:
    """Kind, mode, time and contents of all that is there; without bytecode, none of it and no times of folders."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        if not bytecode and "__pycache__" in path.parts:
            continue
        status = path.lstat()
        folder = path.is_dir() and not path.is_symlink()
        if path.is_symlink():
            contents = os.readlink(path)
        else:
            contents = "" if folder else hashlib.sha256(path.read_bytes()).hexdigest()
        time = 0 if folder and not bytecode else status.st_mtime_ns
        found[str(path.relative_to(root))] = (status.st_mode, time, contents)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("make", [_venv, _conda, _pixi], ids=["venv", "conda", "pixi"])
@pytest.mark.parametrize("by", ["prefix", "interpreter"])
@pytest.mark.parametrize("bytecode", [True, False], ids=["python writes bytecode", "it does not"])
def test_a_load_leaves_it_as_it_was(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], tuple[Path, Path]],
    by: str,
    bytecode: bool,
) -> None:
    """A worker's Python may add bytecode, as for anybody who runs it; where the application has that off, none."""
    prefix, root = make(tmp_path / "there")
    site = prefix / "lib" / MINOR / "site-packages"
    (site / "helper.py").write_text("x = 1\n")
    (site / "numpy.pth").write_text(f"{Path(numpy.__file__).parent.parent}\n")
    (tmp_path / "model.py").write_text(MODEL)
    monkeypatch.setattr(sys, "dont_write_bytecode", not bytecode)
    before = _tree(root, bytecode=not bytecode)
    given = prefix if by == "prefix" else prefix / "bin" / "python"
    for env in (given, Env.existing(given, warm=["helper"], threads=1, devices="cpu", variables={"A": "1"})):
        with isopod.load(f"{tmp_path / 'model.py'}:where", env=env) as model:
            found = dict(model())
        assert found["prefix"] == str(prefix)
        assert Path(found["executable"]).resolve() == (prefix / "bin" / "python").resolve()
        assert found["helper"] == str(site / "helper.py")
    assert _tree(root, bytecode=not bytecode) == before
    assert bool(list(site.glob("__pycache__/helper.*.pyc"))) is bytecode


def test_a_conda_prefix_is_its_own_base(tmp_path: Path) -> None:
    prefix, _ = _conda(tmp_path)
    found = prepare(Env.existing(prefix))
    assert (found.prefix, found.python.parent) == (prefix, prefix / "bin")
    assert found.site_dirs == (prefix / "lib" / MINOR / "site-packages",)
    assert found.version == sys.version_info[:3]
    broken = prefix.with_name("broken")
    (broken / "conda-meta").mkdir(parents=True)
    with pytest.raises(isopod.SpecError, match=r"neither pyvenv\.cfg nor bin/python"):
        prepare(Env.existing(broken))
