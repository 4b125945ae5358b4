"""Where zips are unpacked: once a content, never half, held while it is used, and collected."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pods import neuropod_packages as packages

import isopod
from isopod.runtime.pods import cache, manifest
from isopod.runtime.pods.contents import Folder

GOOD = packages.with_manifest(packages.addition())
X = np.arange(5, dtype=np.float32)


def keys(home: Path) -> list[str]:
    return sorted(path.name for path in home.glob("*") if path.is_dir() and path.name != "seen")


def test_one_content_is_unpacked_once(tmp_path: Path, pod_home: Path) -> None:
    one = packages.as_zip(GOOD, tmp_path / "one.zip")
    two = packages.as_zip(GOOD, tmp_path / "two.zip")
    first, second = cache.had(one), cache.had(two)
    assert first.folder == second.folder
    assert len(keys(pod_home)) == 1
    assert first.digest == manifest.digest_of(manifest.digests_of(Folder(first.folder)))
    assert first.verified
    inode = first.folder.stat().st_ino
    for opened in (first, second):
        opened.hold.release()
    again = cache.had(one)
    assert again.folder.stat().st_ino == inode
    again.hold.release()


def test_a_known_file_is_not_read_again(tmp_path: Path, pod_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_SETTLED", 0)  # the file of a test is too young to be remembered
    place = packages.as_zip(GOOD, tmp_path / "one.zip")
    cache.had(place).hold.release()
    read: list[Path] = []
    real = cache._hash

    def counted(path: Path) -> str:
        read.append(path)
        return real(path)

    monkeypatch.setattr(cache, "_hash", counted)
    cache.had(place).hold.release()
    assert read == []
    other = packages.with_manifest(packages.addition(name="other"))
    packages.as_zip(other, tmp_path / "new.zip")
    os.replace(tmp_path / "new.zip", place)
    found = cache.had(place)
    assert read == [place, place]  # for the key, and once more when all of it was unpacked
    assert len(keys(pod_home)) == 2
    found.hold.release()


def test_what_is_damaged_by_hand_is_unpacked_anew(tmp_path: Path, pod_home: Path) -> None:
    place = packages.as_zip(GOOD, tmp_path / "one.zip")
    found = cache.had(place)
    found.hold.release()
    (found.folder / "config.json").unlink()
    again = cache.had(place)
    assert (again.folder / "config.json").read_bytes() == GOOD["config.json"]
    again.hold.release()


KILLED = """
import os, signal, sys
from pathlib import Path
from isopod.runtime.pods import archive, cache
cache.home = lambda: Path(sys.argv[2])
real, left = archive.os.open, int(sys.argv[3])
def dying(*arguments, **options):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **options)
archive.os.open = dying
cache.had(Path(sys.argv[1])).hold.release()
"""


@pytest.mark.parametrize("opens", range(1, 9))
def test_a_kill_at_any_moment_leaves_nothing_that_is_served(opens: int, tmp_path: Path, pod_home: Path) -> None:
    place = packages.as_zip(GOOD, tmp_path / "one.zip")
    command = [sys.executable, "-c", KILLED, str(place), str(pod_home.parent), str(opens)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    for key in keys(pod_home):
        if not key.startswith(".staging-"):  # published: then it is whole
            assert {str(path.relative_to(pod_home / key / "pod")) for path in (pod_home / key / "pod").rglob("*")
                    if path.is_file()} == GOOD.keys()  # fmt: skip
    with isopod.load(place, timeout=60) as model:
        assert (model(x=X, y=X)["out"] == X + X).all()
    assert not [key for key in keys(pod_home) if key.startswith(".staging-")]


def test_what_is_used_is_not_collected(tmp_path: Path, pod_home: Path) -> None:
    place = packages.as_zip(GOOD, tmp_path / "one.zip")
    with isopod.load(place, timeout=60) as model:
        assert list(cache.collect_unused(unused_for=0)) == []
        assert (model(x=X, y=X)["out"] == X + X).all()
    (key,) = keys(pod_home)
    assert [gone.what for gone in cache.collect_unused(unused_for=0, dry_run=True)] == [key]
    assert [gone.what for gone in cache.collect_unused(unused_for=3600)] == []
    assert [gone.what for gone in cache.collect_unused(unused_for=0)] == [key]
    assert keys(pod_home) == []
    with isopod.load(place, timeout=60) as model:
        assert (model(x=X, y=X)["out"] == X + X).all()


def test_a_home_that_cannot_be_written_to_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(cache, "home", lambda: tmp_path / "file")
    with pytest.raises(isopod.EnvironmentBuildError, match="cannot be unpacked in"):
        isopod.load(packages.as_zip(GOOD, tmp_path / "one.zip"))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda pod: (pod / "0/code/addition_model.py").write_text("evil"), "'0/code/addition_model.py' is not what"),
        (lambda pod: (pod / "0/code/more.py").write_text(""), "'0/code/more.py' is not in the manifest"),
        (lambda pod: (pod / "0/code/__init__.py").unlink(), "'0/code/__init__.py' is missing"),
        (lambda pod: (pod / "manifest.json").write_text('{"manifest_version": 2, "files": {}}'), "not of version 1"),
        (lambda pod: (pod / "manifest.json").write_text('{"manifest_version": 1, "files": 3}'), "does not list"),
        (lambda pod: (pod / "manifest.json").write_text("{"), "is not JSON"),
        (lambda pod: (pod / "0/data").symlink_to("/"), "is a link"),
    ],
)
def test_a_folder_that_is_not_as_it_was_packed(change: object, match: str, tmp_path: Path) -> None:
    place = packages.as_folder(GOOD, tmp_path / "pod")
    change(place)  # type: ignore[operator]
    with pytest.raises(isopod.SpecError, match=match):
        isopod.load(place)


def test_bytecode_is_no_part_of_a_folder(tmp_path: Path) -> None:
    place = packages.as_folder(GOOD, tmp_path / "pod")
    for _ in range(2):
        with isopod.load(place, timeout=60) as model:
            assert (model(x=X, y=X)["out"] == X + X).all()
