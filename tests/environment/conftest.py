"""What the tests of environments share: a small index of wheels made by hand, and a machine without configuration."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy
import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "network: needs a package index")
    config.addinivalue_line("markers", "slow: takes more than a second or two")


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of wheels: two versions of ``clash``, one that needs the first, a numpy of three lines, and helpers."""
    folder = tmp_path_factory.mktemp("wheels")
    write_wheel(folder, "numpy", "1.0", {"numpy/__init__.py": "__version__ = '1.0'\n", "numpy/core.py": "x = 1\n"})
    for version in ("1.0", "2.0"):
        write_wheel(folder, "clash", version, {"clash.py": f"__version__ = {version!r}\n"})
    write_wheel(folder, "needs-clash", "1.0", {"needs_clash.py": ""}, requires=["clash==1.0"])
    write_wheel(folder, "hates-numpy", "1.0", {"hates_numpy.py": ""}, requires=["numpy<1.0"])
    write_wheel(folder, "broken", "1.0", {"broken.py": "raise RuntimeError('broken on purpose')\n"})
    # stops at import until somebody writes to a pipe
    blocker = "import os\nwith open(os.environ['BLOCKER_PIPE']) as pipe:\n    pipe.read()\n"
    write_wheel(folder, "blocker", "1.0", {"blocker.py": blocker})
    return folder


@pytest.fixture(scope="session")
def borrowed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of ``clash``, and a numpy that leads to the one of this process: workers of its Python can run."""
    folder = tmp_path_factory.mktemp("borrowed")
    site = Path(numpy.__file__).parent.parent
    write_wheel(folder, "numpy", "1.0", {"borrowed_numpy.pth": f"{site}\n"})
    for version in ("1.0", "2.0"):
        write_wheel(folder, "clash", version, {"clash.py": f"__version__ = {version!r}\n"})
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("uv-cache")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No configuration of pip or uv, and a home of our own; returns the folder of the environments."""
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.setenv("ISOPOD_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "environments"


@pytest.fixture
def machine(bare: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``bare``, with a cache of uv that the tests of one session share."""
    monkeypatch.setenv("UV_CACHE_DIR", str(cache))
    return bare


@pytest.fixture(scope="session")
def make_wheel() -> Callable[..., Path]:
    """``write_wheel``, for tests that want another wheel."""
    return write_wheel


@pytest.fixture(scope="session")
def write_sdist() -> Callable[[Path, Path], None]:
    return _write_sdist


def _write_sdist(folder: Path, wheel: Path) -> None:
    """Write ``old-1.0.tar.gz``, which holds its own build backend and hands out ``wheel``; remove that."""
    backend = f"""\
import shutil
def build_wheel(folder, settings=None, metadata=None):
    shutil.copy("{wheel.name}", folder)
    return "{wheel.name}"
"""
    pyproject = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    files = {
        "pyproject.toml": pyproject.encode(),
        "PKG-INFO": b"Metadata-Version: 2.1\nName: old\nVersion: 1.0\n",
        "backend.py": backend.encode(),
        wheel.name: wheel.read_bytes(),
    }
    with tarfile.open(folder / "old-1.0.tar.gz", "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"old-1.0/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    wheel.unlink()


def write_wheel(folder: Path, name: str, version: str, files: Mapping[str, str], requires: Sequence[str] = ()) -> Path:
    """Write ``<name>-<version>-py3-none-any.whl`` with these files into ``folder`` and return its path."""
    stem = name.replace("-", "_")
    info = f"{stem}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {item}\n" for item in requires)
    contents = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},{_digest(text)},{len(text.encode())}\n" for path, text in contents.items())
    wheel = folder / f"{stem}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in {**contents, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(path, text)
    return wheel


def _digest(text: str) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
