"""What every backend refuses alike, before its framework is needed: none of these environments has one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import isopod
from isopod.opeworker import elf

FRAMEWORKS = [
    ("torchscript", "torch"),
    ("pytorch", "torch"),
    ("tensorflow", "tensorflow"),
    ("keras", "keras"),
    ("onnx", "onnxruntime"),
    ("sklearn", "scikit-learn"),
    ("tensorrt", "tensorrt"),
]


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """An environment with numpy and nothing else."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    import numpy

    packages = Path(numpy.__file__).resolve().parent
    for name in ("numpy", "numpy.libs"):
        if (packages.parent / name).is_dir():
            (site / name).symlink_to(packages.parent / name)
    return venv


@pytest.mark.parametrize(("backend", "package"), FRAMEWORKS)
def test_a_missing_framework_is_named_with_what_to_add(bare: Path, tmp_path: Path, backend: str, package: str) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"anything")
    with pytest.raises(isopod.SpecError, match=rf"model 'm'.*has no {package}, which .*isopod\.Env\(\['{package}'"):
        isopod.load(path, backend=backend, env=bare, name="m")


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a GPU here")
@pytest.mark.parametrize("backend", [backend for backend, _ in FRAMEWORKS])
def test_a_missing_gpu_is_an_error_and_never_the_processor(bare: Path, tmp_path: Path, backend: str) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"anything")
    with pytest.raises(isopod.SpecError, match=r"the GPU 0 was asked for, and is not there: .*only the processor"):
        isopod.load(path, backend=backend, env=bare, device="cuda:0")


def test_a_library_says_what_it_needs(tmp_path: Path) -> None:
    import _ctypes

    needs = elf.needed(_ctypes.__file__)
    assert any(name.startswith("libc.so") for name in needs)
    whole = Path(_ctypes.__file__).read_bytes()
    for data, fact in (
        (b"no library", "not a shared library"),
        (whole[:70], "cut short"),
        (whole[: len(whole) // 8], "cut short"),
        (b"", "not a shared library"),
    ):
        (tmp_path / "lib.so").write_bytes(data)
        with pytest.raises(elf.NotALibrary, match=fact):
            elf.needed(str(tmp_path / "lib.so"))
