"""What the machine lacks: a network, room on the disk, a home that can be written to."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from isopod import EnvironmentBuildError
from isopod.runtime.environment import Env, prepare

NOWHERE = "http://127.0.0.1:9/simple"  # the discard port: nobody answers, and nobody is asked


@pytest.mark.parametrize("variable", ["ISOPOD_OFFLINE", "UV_OFFLINE"])
def test_offline_names_what_is_missing(
    machine: Path, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty"))
    with pytest.raises(EnvironmentBuildError) as refused:
        prepare(Env(["clash==1.0"], index_url=NOWHERE))
    assert "clash was not found in the cache" in str(refused.value)
    assert "isopod is offline" in str(refused.value)
    assert [path for path in machine.iterdir() if path.is_dir()] == []


def test_offline_takes_what_is_there(machine: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = Env(["clash==1.0"], find_links=[str(index)], no_index=True)
    key = prepare(env).key
    monkeypatch.setenv("ISOPOD_OFFLINE", "1")
    there = prepare(env)
    assert (there.key, there.cached) == (key, True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Two megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no rights to mount a small file system here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told_and_leaves_nothing(
    machine: Path, small_disk: Path, make_wheel: object, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    make_wheel(wheels, "large", "1.0", {"large.py": "#" * (4 << 20)})  # type: ignore[operator]
    monkeypatch.setenv("ISOPOD_HOME", str(small_disk))
    with pytest.raises(EnvironmentBuildError, match="No space left on device"):
        prepare(Env(["large"], find_links=[str(wheels), str(index)], no_index=True))
    assert [path for path in (small_disk / "environments").iterdir() if path.is_dir()] == []
    assert not prepare(Env(["clash"], find_links=[str(index)], no_index=True)).cached  # there is room for this one


def test_a_home_that_cannot_be_written_to_is_told(
    machine: Path, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()  # a folder without the right to write would not stop root
    monkeypatch.setenv("ISOPOD_HOME", str(tmp_path / "file"))
    with pytest.raises(EnvironmentBuildError, match=f"cannot be kept in {tmp_path / 'file' / 'environments'}"):
        prepare(Env(["clash"], find_links=[str(index)], no_index=True))
    assert os.path.isfile(tmp_path / "file")
