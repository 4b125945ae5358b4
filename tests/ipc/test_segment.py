"""Segments: sealed, nameless, and mapped for as long as an array uses them."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from isopod.ipc.errors import ProtocolError
from isopod.ipc.segment import HUGE, Segment


@pytest.fixture(params=["memfd", "no memfd", "memfd forbidden"])
def create(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Segment]:
    """``Segment.create`` as it goes on three kinds of machine."""
    if request.param == "no memfd":
        monkeypatch.delattr(os, "memfd_create")
    elif request.param == "memfd forbidden":

        def refuse(*_: object) -> int:
            raise OSError(errno.EPERM, "not in this container")

        monkeypatch.setattr(os, "memfd_create", refuse)
    return Segment.create


@pytest.mark.parametrize("shareable", [False, True])
def test_a_segment_can_neither_shrink_nor_grow(shareable: bool) -> None:
    segment = Segment.create(8192, shareable=shareable)
    assert segment.sealed
    for size in (0, 4096, 16384):
        with pytest.raises(PermissionError):
            os.ftruncate(segment.fileno(), size)
    assert os.fstat(segment.fileno()).st_size == 8192
    segment.map[8191] = 7
    segment.close()


def test_the_label_is_seen_by_people_and_the_descriptor_stays_here() -> None:
    segment = Segment.create(4096, "isopod-of-a-test")
    assert "isopod-of-a-test" in os.readlink(f"/proc/self/fd/{segment.fileno()}")
    assert not os.get_inheritable(segment.fileno())
    segment.close()


def test_two_mappings_are_one_memory(create: Callable[..., Segment]) -> None:
    """With memfd or without: the same, but for the seals."""
    segment = create(8192)
    other = Segment.attach(os.dup(segment.fileno()))
    segment.map[:5] = b"hello"
    assert other.map[:5] == b"hello"
    assert other.size == segment.size == 8192
    assert segment.address != other.address
    assert not os.get_inheritable(segment.fileno())
    segment.close()
    other.close()


def test_no_name_is_left(create: Callable[..., Segment]) -> None:
    segment = create(8192)
    assert not [name for name in os.listdir("/dev/shm") if "isopod" in name]
    segment.close()


def test_another_error_of_the_kernel_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(os, "memfd_create", full)
    with pytest.raises(OSError, match="too many open files"):
        Segment.create(4096)


def test_memory_that_cannot_be_had_leaves_no_descriptor() -> None:
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises((OSError, OverflowError)):
        Segment.create(1 << 62)
    assert set(os.listdir("/proc/self/fd")) == before
    Segment.create(4096).close()


def test_an_empty_segment_is_refused_and_closed() -> None:
    fd = os.memfd_create("empty")
    with pytest.raises(ProtocolError, match="empty"):
        Segment.attach(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_an_array_outlives_its_segment(create: Callable[..., Segment]) -> None:
    segment = create(8192)
    array = np.ndarray(100, np.int64, segment.map, 64)
    array[:] = range(100)
    segment.close()
    segment.close()  # twice is once
    del segment
    assert array.sum() == 4950


def in_smaps(segment: Segment, field: str) -> int:
    """Bytes of a segment that are so in this process, as the kernel tells it."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith(f"{segment.address:x}-"))
    value = next(line for line in lines[start:] if line.startswith(f"{field}:"))
    return int(value.split()[1]) * 1024


def test_populated_pages_are_there() -> None:
    segment = Segment.create(64 * mmap.PAGESIZE)
    assert in_smaps(segment, "Rss") == 0
    assert segment.populate(mmap.PAGESIZE + 5, 10 * mmap.PAGESIZE - 5) == 10 * mmap.PAGESIZE
    assert in_smaps(segment, "Rss") == 9 * mmap.PAGESIZE
    assert segment.populate(0, segment.size) == segment.size
    assert in_smaps(segment, "Rss") == segment.size
    segment.close()


LARGE = 3 * HUGE + 5 * mmap.PAGESIZE


def test_a_large_segment_is_made_of_huge_pages(create: Callable[..., Segment], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of both sides; what is left over at its end is made of small ones."""
    monkeypatch.setattr("isopod.ipc.segment._PATIENCE_NS", 3600 * 10**9)  # a machine that is busy gives them late
    segment = create(LARGE)
    if segment._collapse(0, HUGE) == 0:
        pytest.skip("this kernel gives no huge pages for shared memory (MADV_COLLAPSE, Linux 6.1)")
    assert segment.populate(0, HUGE + 1) == 2 * HUGE
    assert segment.populate(2 * HUGE, LARGE) == LARGE
    other = Segment.attach(os.dup(segment.fileno()))
    reader = Segment.attach(os.open(f"/proc/self/fd/{segment.fileno()}", os.O_RDONLY))
    sums = [int(np.frombuffer(one.map, np.uint8).sum()) for one in (other, reader)]
    assert sums == [0, 0]
    for one in (segment, other, reader):
        assert one.address % HUGE == 0
        assert (in_smaps(one, "ShmemPmdMapped"), in_smaps(one, "Rss")) == (3 * HUGE, LARGE)
        one.close()


@pytest.mark.parametrize(("change", "huge"), [(("_MADV_COLLAPSE", 9999), 0), (("_PATIENCE_NS", -1), HUGE)])
def test_where_huge_pages_are_not_to_be_had_small_ones_do(
    create: Callable[..., Segment], monkeypatch: pytest.MonkeyPatch, change: tuple[str, int], huge: int
) -> None:
    """The kernel knows nothing of them, or takes too long for one."""
    segment = create(LARGE)
    if segment._collapse(0, HUGE) == 0:
        huge = 0
    monkeypatch.setattr(f"isopod.ipc.segment.{change[0]}", change[1])
    other = create(LARGE)
    assert other.populate(0, LARGE) == LARGE
    assert in_smaps(other, "Rss") == LARGE
    assert in_smaps(other, "ShmemPmdMapped") == huge
    segment.close()
    other.close()


@pytest.mark.parametrize("size", [8192, LARGE])
def test_the_whole_of_a_segment_is_its_map(create: Callable[..., Segment], size: int) -> None:
    """Whatever page its mapping begins at: both ends, and nothing of what lies around it."""
    segment = create(size)
    other = Segment.attach(os.dup(segment.fileno()))
    reader = Segment.attach(os.open(f"/proc/self/fd/{segment.fileno()}", os.O_RDONLY))
    segment.map[0:1], segment.map[size - 1 : size] = b"a", b"z"
    for one in (segment, other, reader):
        assert len(one.map) == one.size == size
        assert (bytes(one.map[0:1]), bytes(one.map[size - 1 : size])) == (b"a", b"z")
        assert one.address == np.frombuffer(one.map, np.uint8).__array_interface__["data"][0]
    with pytest.raises(TypeError):
        reader.map[0:1] = b"b"
    with pytest.raises(ValueError, match="read-only"):
        np.ndarray(4, np.uint8, reader.map)[:] = 1
    for one in (segment, other, reader):
        one.close()


def test_a_large_mapping_goes_with_its_last_array() -> None:
    def mappings() -> int:
        return Path("/proc/self/maps").read_text().count("/memfd:isopod-mapped")

    segment = Segment.create(LARGE, "isopod-mapped")
    array = np.ndarray(100, np.int64, segment.map, 64)
    segment.close()
    del segment
    assert mappings() == 1
    assert array[::10].sum() == 0
    del array
    assert mappings() == 0


def test_a_reader_can_read_and_never_write(create: Callable[..., Segment]) -> None:
    segment = create(8192, shareable=True)
    writer = Segment.attach(os.dup(segment.fileno()))  # before others are to read it
    other = Segment.attach(segment.reader())
    assert (writer.protected, other.protected) == (False, True)
    for mine in (segment, writer):
        mine.map[:4] = b"mine"
        assert other.map[:4] == b"mine"
        mine.map[:4] = bytes(4)
    with pytest.raises(TypeError):
        other.map[:4] = b"hers"
    with pytest.raises(PermissionError):
        mmap.mmap(other.fileno(), 4096)
    assert not os.get_inheritable(other.fileno())
    for one in (writer, other, segment):
        one.close()


def test_what_others_read_cannot_be_opened_anew_to_write() -> None:
    segment = Segment.create(8192, shareable=True)
    reader = segment.reader()
    for number in (reader, segment.fileno()):
        fd = os.open(f"/proc/self/fd/{number}", os.O_RDWR)
        with pytest.raises(PermissionError):
            mmap.mmap(fd, 4096)
        with pytest.raises(PermissionError):
            os.pwrite(fd, b"hers", 0)
        os.close(fd)
    with pytest.raises(PermissionError):
        fcntl.fcntl(reader, 1033, 1)  # F_ADD_SEALS: it is sealed for good
    os.close(reader)
    segment.close()


def test_an_ordinary_segment_has_readers_and_can_still_be_mapped_by_others() -> None:
    segment = Segment.create(8192)
    reader = Segment.attach(segment.reader())
    writer = Segment.attach(segment.duplicate())
    writer.map[:4] = b"mine"
    assert (reader.protected, reader.map[:4]) == (True, b"mine")
    for one in (writer, reader, segment):
        one.close()


def test_a_closed_segment_has_no_readers() -> None:
    segment = Segment.create(8192, shareable=True)
    segment.close()
    for descriptor in (segment.reader, segment.duplicate):
        with pytest.raises(OSError, match="closed"):
            descriptor()
