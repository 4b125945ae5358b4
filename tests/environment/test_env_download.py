"""Pythons that are fetched when asked, and only then: from a copy of an interpreter that is here, and from nowhere."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from isopod.cli.parser import main
from isopod.ipc.errors import EnvironmentBuildError, SpecError
from isopod.runtime.environment import BuildEvent, Env, Interpreter, interpreters, prepare

# Where uv would take it from: what begins so, it takes from the mirror.
_HOME = "https://github.com/astral-sh/python-build-standalone/releases/download"
RELEASE = "20240101"
_LEFT_OUT = {"site-packages", "test", "tests", "__pycache__", "idlelib", "tkinter", "lib2to3"}


def _light(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    parts = member.name.split("/")
    heavy = _LEFT_OUT.intersection(parts) or any(part.startswith("config-") for part in parts)
    return None if heavy or member.name.endswith(".a") else member


def _dotted(python: Interpreter) -> str:
    return ".".join(map(str, python.version))


@pytest.fixture(scope="session")
def spare() -> Interpreter:
    """A Python of this machine, other than this one and the system's: its files can be copied."""
    for one in interpreters():
        if one.prefix != Path("/usr") and one.version >= (3, 8, 0) and one.version != sys.version_info[:3]:
            return one
    pytest.skip("there is no second Python here")


@pytest.fixture(scope="session")
def mirror(spare: Interpreter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a list of downloads, as uv reads it, and one archive as python-build-standalone has them."""
    folder = tmp_path_factory.mktemp("mirror")
    archive = folder / RELEASE / "python.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz", compresslevel=1) as file:
        file.add(spare.executable, f"python/bin/python{spare.minor}")
        for library in spare.prefix.glob("lib/libpython*.so*"):
            file.add(library, f"python/lib/{library.name}")
        file.add(spare.prefix / "lib" / f"python{spare.minor}", f"python/lib/python{spare.minor}", filter=_light)
    major, minor, patch = spare.version
    entry = {
        "name": "cpython", "arch": {"family": platform.machine(), "variant": None}, "os": "linux", "libc": "gnu",
        "major": major, "minor": minor, "patch": patch, "prerelease": "", "variant": None,
        "url": f"{_HOME}/{RELEASE}/{archive.name}",
        "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(), "build": RELEASE,
    }  # fmt: skip
    name = f"cpython-{_dotted(spare)}-linux-{platform.machine()}-gnu"
    (folder / "downloads.json").write_text(json.dumps({name: entry}), encoding="utf-8")
    return folder


@pytest.fixture
def poor(machine: Path, spare: Interpreter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without the spare Python; returns the folder of those that uv fetches."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "none"))
    for name in ("CONDA_PREFIX", "CONDA_EXE", "ISOPOD_PYTHON_DOWNLOADS"):
        monkeypatch.delenv(name, raising=False)
    pythons = tmp_path / "pythons"
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(pythons))
    monkeypatch.setenv("UV_PYTHON_INSTALL_MIRROR", (tmp_path / "nowhere").as_uri())
    if any(one.version == spare.version for one in interpreters()):
        pytest.skip("it is found in the system's own folders, too")
    return pythons


def _offered(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", (mirror / "downloads.json").as_uri())
    monkeypatch.setenv("UV_PYTHON_INSTALL_MIRROR", mirror.as_uri())


def test_nothing_is_fetched_unless_asked(poor: Path, spare: Interpreter) -> None:
    with pytest.raises(SpecError) as refused:
        prepare(Env(python=_dotted(spare)))
    assert "Env(download_python=True)" in str(refused.value)
    assert "ISOPOD_PYTHON_DOWNLOADS=1" in str(refused.value)
    assert not poor.exists()


def test_a_download_that_fails_has_uvs_own_words(poor: Path, spare: Interpreter) -> None:
    with pytest.raises(EnvironmentBuildError) as failed:
        prepare(Env(python=spare.minor, download_python=True))
    text = str(failed.value)
    assert f"Python {spare.minor} is not on this machine, and could not be downloaded" in text
    assert "nowhere/" in text, "uv says where it looked"
    assert "UV_PYTHON_INSTALL_MIRROR" in text


def test_no_said_here_wins_over_the_machine(poor: Path, spare: Interpreter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOPOD_PYTHON_DOWNLOADS", "1")
    with pytest.raises(SpecError, match="no Python that satisfies"):
        prepare(Env(python=_dotted(spare), download_python=False))


@pytest.mark.slow
@pytest.mark.parametrize("by", ["field", "variable"])
def test_it_is_fetched_told_and_used(
    poor: Path, index: Path, spare: Interpreter, mirror: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    _offered(mirror, monkeypatch)
    if by == "variable":
        monkeypatch.setenv("ISOPOD_PYTHON_DOWNLOADS", "1")
    events: list[BuildEvent] = []
    env = Env(
        ["clash==1.0"], python=_dotted(spare), find_links=[str(index)], no_index=True,
        download_python=True if by == "field" else None,
    )  # fmt: skip
    prepared = prepare(env, on_event=events.append)
    assert poor in prepared.python.parents
    assert prepared.version == spare.version
    asked = "import clash, sys; print(clash.__version__, sys.base_prefix)"
    said = subprocess.run([prepared.executable, "-I", "-c", asked], check=True, capture_output=True, text=True).stdout
    assert said.split()[0] == "1.0"
    assert said.split()[1].startswith(str(poor))
    told = [event.message for event in events if event.stage == "python"]
    assert any("MiB" in text for text in told), told
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", "file:///nowhere")
    assert prepare(env).cached, "it is found from now on"


@pytest.mark.slow
def test_the_command_line_fetches_one(
    poor: Path, spare: Interpreter, mirror: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _offered(mirror, monkeypatch)
    assert main(["env", "python", _dotted(spare)]) == 2
    assert main(["env", "python", _dotted(spare), "--download", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert poor in Path(found["path"]).parents
