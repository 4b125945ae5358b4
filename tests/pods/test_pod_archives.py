"""Zips that are not what they should be: none of them is unpacked, each is told why, and nothing is left behind."""

from __future__ import annotations

import stat
import struct
import warnings
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pods import neuropod_packages as packages

import isopod
from isopod.runtime.pods import archive, cache
from isopod.runtime.pods.contents import check_names

GOOD = packages.with_manifest(packages.addition())


def unpacked(home: Path) -> list[Path]:
    """What stands under a key, and what is left beside."""
    return [path for path in home.glob("*") if path.is_dir() and path.name != "seen"]


def written(place: Path, *more: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    packages.as_zip(GOOD, place)
    with zipfile.ZipFile(place, "a") as out, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of the very duplicates that are to be tried
        for name, data in more:
            out.writestr(name, data)
    return place


def link(name: str, target: str, kind: int = stat.S_IFLNK) -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (kind | 0o777) << 16
    return info, target.encode()


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ([("../evil", b"")], "leads out"),
        ([("0/data/../../../evil", b"")], "leads out"),
        ([("/etc/evil", b"")], "is absolute"),
        ([("C:/evil", b"")], "is absolute"),
        ([("0\\data\\evil", b"")], "a sign that means something else"),
        ([("0/data/\x01", b"")], "a sign that means something else"),
        ([("0//evil", b"")], "an empty part"),
        ([("./evil", b"")], "an empty part"),
        ([("../evil/", b"")], "leads out"),
        ([("a" * 300, b"")], "too long"),
        ([("config.json", b"{}")], "twice"),
        ([("Config.JSON", b"{}")], "one file on some machines"),
        ([("0/Data/x", b""), ("0/data/y", b"")], "one folder on some machines"),
        ([("config.json/x", b"")], "a file and a folder"),
        ([link("0/data/out", "/etc/passwd")], "is a link"),
        ([link("0/data/pipe", "", stat.S_IFIFO)], "is a link or no file"),
        ([("0/data/more", b"")], "'0/data/more' is not in the manifest"),
    ],
)
def test_what_is_not_safe_is_not_opened(
    more: list[tuple[str | zipfile.ZipInfo, bytes]], match: str, tmp_path: Path, pod_home: Path
) -> None:
    place = written(tmp_path / "x.zip", *more)
    with pytest.raises(isopod.SpecError, match=match):
        isopod.load(place)
    assert unpacked(pod_home) == []
    assert not list(tmp_path.rglob("evil"))


def test_a_name_that_is_cut_at_a_zero_byte_is_seen_whole(tmp_path: Path) -> None:
    place = written(tmp_path / "x.zip", ("0/dataXevil", b""))
    place.write_bytes(place.read_bytes().replace(b"0/dataXevil", b"0/data\0evil"))
    with pytest.raises(isopod.SpecError, match=r"x\.zip"):
        isopod.load(place)


@given(st.integers(0, 2**31))
def test_a_truncated_zip_is_told_as_that(position: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        place = packages.as_zip(GOOD, Path(folder, "x.zip"))
        whole = place.read_bytes()
        place.write_bytes(whole[: position % len(whole)])
        with pytest.raises(isopod.SpecError, match=r"x\.zip is damaged, or the archive is not whole"):
            archive.Archive(place)


@given(st.integers(0, 2**31), st.integers(1, 255))
def test_a_changed_byte_is_found_or_changes_nothing(position: int, change: int) -> None:
    """Whatever byte is changed: an error that names the pod, or the very files that were packed."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        place = packages.as_zip(GOOD, Path(folder, "x.zip"))
        whole = bytearray(place.read_bytes())
        whole[position % len(whole)] ^= change
        place.write_bytes(whole)
        try:
            opened = archive.Archive(place)
        except isopod.SpecError as error:
            assert "x.zip" in str(error)  # noqa: PT017
            return
        try:
            digests = archive.unpack(opened, Path(folder, "out"))
            from isopod.runtime.pods import manifest

            manifest.check(place, manifest.read(opened), digests)
        except isopod.SpecError as error:
            assert "x.zip" in str(error)  # noqa: PT017
        else:
            assert {name: Path(folder, "out", name).read_bytes() for name in digests} == GOOD
        finally:
            opened.close()


def test_encryption_is_refused(tmp_path: Path) -> None:
    place = packages.as_zip(GOOD, tmp_path / "x.zip")
    data = bytearray(place.read_bytes())
    at = data.index(b"PK\x01\x02")
    flags = struct.unpack_from("<H", data, at + 8)[0]
    struct.pack_into("<H", data, at + 8, flags | 1)
    place.write_bytes(data)
    with pytest.raises(isopod.SpecError, match="is encrypted"):
        isopod.load(place)


def test_a_bomb_is_seen_before_it_goes_off(tmp_path: Path) -> None:
    place = written(tmp_path / "x.zip")
    with zipfile.ZipFile(place, "a", zipfile.ZIP_DEFLATED) as out:
        out.writestr("0/data/zeros", bytes(8 << 20))
    small = archive.Limits(free=1 << 20)
    with pytest.raises(isopod.SpecError, match="made to fill a disk"):
        archive.Archive(place, small)
    with pytest.raises(isopod.SpecError, match="made to fill a disk"):
        archive.Archive(place, archive.Limits(size=1 << 20))
    with pytest.raises(isopod.SpecError, match="more than 3 are not unpacked"):
        archive.Archive(place, archive.Limits(files=3))
    archive.Archive(place).close()


def test_a_file_is_no_larger_than_it_says(tmp_path: Path) -> None:
    """The size in the directory is what counts against the limits, so nobody may lie in it."""
    place = packages.as_zip({**packages.addition(), "0/data/zeros": bytes(1 << 20)}, tmp_path / "x.zip")
    data = bytearray(place.read_bytes())
    at = data.rindex(b"0/data/zeros") - 46
    assert data[at : at + 4] == b"PK\x01\x02"
    struct.pack_into("<I", data, at + 24, 10)
    place.write_bytes(data)
    with pytest.raises(isopod.SpecError, match="0/data/zeros is damaged"):
        cache.had(place)


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    one = packages.as_folder(GOOD, tmp_path / "one")
    two = packages.as_folder(dict(reversed(GOOD.items())), tmp_path / "two")
    for path in two.rglob("*.py"):
        path.chmod(0o700)
    archive.write(one, tmp_path / "one.zip")
    archive.write(two, tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with pytest.raises(FileExistsError):
        archive.write(one, tmp_path / "one.zip")


_part = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(["..", ".", "", "a", "A", "ä", "a\u0308"])


@given(st.lists(st.lists(_part, min_size=1, max_size=4).map("/".join), max_size=5, unique=True))
def test_names_that_pass_stay_below_their_folder(names: list[str]) -> None:
    try:
        check_names(Path("pod"), names)
    except isopod.SpecError:
        return
    root = Path("/unpacked")
    for name in names:
        path = Path(str(root / name))
        assert root in path.parents
        assert ".." not in path.parts
    assert len({name.casefold() for name in names}) == len(names)
