"""The control channel: length-prefixed frames over one stream socket, descriptors beside them.

Descriptors go from the parent to the child only. The parent reads with a plain ``recv``, so the kernel drops whatever a
hostile child attaches.
"""

from __future__ import annotations

import array
import socket
import struct
from typing import Iterator, Sequence

from isopod.ipc.errors import ProtocolError
from isopod.ipc.layout import MAX_FRAME

_LENGTH = struct.Struct("<I")
_MAX_DESCRIPTORS = 8


class FrameBuffer:
    """Cuts a stream into frames. Pure: bytes in, frames out."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Each frame that is now whole. Raises ``ProtocolError`` for a length beyond the limit."""
        self._data += data
        while len(self._data) >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._data)
            if size > MAX_FRAME:
                raise ProtocolError(f"a frame claims {size} bytes")
            end = _LENGTH.size + size
            if len(self._data) < end:
                return
            frame = bytes(self._data[_LENGTH.size : end])
            del self._data[:end]
            yield frame


def framed(frame: bytes) -> bytes:
    """A frame as it stands in the stream."""
    return _LENGTH.pack(len(frame)) + frame


def send_frame(sock: socket.socket, frame: bytes, descriptors: Sequence[int] = ()) -> None:
    """Send a whole frame. On a non-blocking socket raises ``BlockingIOError`` where the other side does not read."""
    data = framed(frame)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    sent = sock.sendmsg([data], rights, socket.MSG_NOSIGNAL)
    while sent < len(data):
        sent += sock.send(data[sent:], socket.MSG_NOSIGNAL)


def receive_with_descriptors(sock: socket.socket) -> tuple[bytes, list[int]]:
    """The next bytes and the descriptors that came with them; empty bytes at the end of the stream."""
    numbers = array.array("i")
    room = socket.CMSG_LEN(_MAX_DESCRIPTORS * numbers.itemsize)
    data, ancillary, _, _ = sock.recvmsg(MAX_FRAME, room, getattr(socket, "MSG_CMSG_CLOEXEC", 0x40000000))
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers.frombytes(content[: len(content) // numbers.itemsize * numbers.itemsize])
    return data, list(numbers)
