"""Frames over a stream: cut anywhere, and descriptors beside them."""

from __future__ import annotations

import os
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isopod.ipc import channel
from isopod.ipc.channel import FrameBuffer
from isopod.ipc.errors import ProtocolError
from isopod.ipc.layout import MAX_FRAME


def framed(frames: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(frame)) + frame for frame in frames)


def test_a_stream_may_be_cut_at_every_byte() -> None:
    frames = [b"one", b"", b"three" * 20, b"\0\0\0\0"]
    stream = framed(frames)
    for first in range(len(stream) + 1):
        for second in range(first, len(stream) + 1):
            buffer = FrameBuffer()
            pieces = (stream[:first], stream[first:second], stream[second:])
            assert [frame for piece in pieces for frame in buffer.feed(piece)] == frames


@given(st.lists(st.binary(max_size=30), max_size=6), st.lists(st.integers(1, 9), min_size=1, max_size=9))
def test_a_stream_may_come_in_any_pieces(frames: list[bytes], sizes: list[int]) -> None:
    stream, buffer, seen, at, turn = framed(frames), FrameBuffer(), [], 0, 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        seen += list(buffer.feed(stream[at : at + size]))
        at, turn = at + size, turn + 1
    assert seen == frames


def test_a_length_beyond_the_limit_is_refused_before_its_bytes_come() -> None:
    assert list(FrameBuffer().feed(framed([b"x" * MAX_FRAME]))) == [b"x" * MAX_FRAME]
    with pytest.raises(ProtocolError, match=f"claims {MAX_FRAME + 1} bytes"):
        list(FrameBuffer().feed(struct.pack("<I", MAX_FRAME + 1)))


def test_frames_before_a_bad_one_still_come() -> None:
    frames = FrameBuffer().feed(framed([b"good"]) + b"\xff\xff\xff\xff")
    assert next(frames) == b"good"
    with pytest.raises(ProtocolError, match="claims 4294967295 bytes"):
        next(frames)


def test_descriptors_travel_beside_their_frame() -> None:
    ours, theirs = socket.socketpair()
    read, write = os.pipe()
    with ours, theirs:
        channel.send_frame(ours, b"take these", (read, write))
        data, received = channel.receive_with_descriptors(theirs)
        assert list(FrameBuffer().feed(data)) == [b"take these"]
        assert not any(os.get_inheritable(descriptor) for descriptor in received)
        os.write(received[1], b"through")
        assert os.read(read, 10) == b"through"
        ours.close()
        assert channel.receive_with_descriptors(theirs) == (b"", [])
    for descriptor in (read, write, *received):
        os.close(descriptor)


def fill(sock: socket.socket) -> None:
    for _ in range(100):
        channel.send_frame(sock, b"x" * MAX_FRAME)


def test_a_reader_that_does_not_read_is_noticed() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        with pytest.raises(BlockingIOError):
            fill(ours)


def test_a_reader_that_is_gone_is_an_error_and_no_signal() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours, pytest.raises(BrokenPipeError):
        channel.send_frame(ours, b"anybody?")
