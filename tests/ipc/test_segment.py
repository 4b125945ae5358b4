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
from isopod.ipc.segment import Segment


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


def test_populated_pages_are_there() -> None:
    segment = Segment.create(64 * mmap.PAGESIZE)

    def resident() -> int:
        lines = Path("/proc/self/smaps").read_text().splitlines()
        start = next(index for index, line in enumerate(lines) if line.startswith(f"{segment.address:x}-"))
        rss = next(line for line in lines[start:] if line.startswith("Rss:"))
        return int(rss.split()[1]) * 1024

    assert resident() == 0
    segment.populate(mmap.PAGESIZE + 5, 9 * mmap.PAGESIZE)
    assert 9 * mmap.PAGESIZE <= resident() <= 12 * mmap.PAGESIZE
    segment.populate(0, segment.size)
    assert resident() == segment.size
    segment.close()


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
