"""What a parent says on a control channel, one message after the other, and the descriptors that come with it."""

from __future__ import annotations

import socket
from collections import deque
from typing import Deque

from isopod.ipc import channel
from isopod.ipc.errors import ProtocolError
from isopod.ipc.protocol import Conversation, Message
from isopod.opeworker.guard import hold


class Incoming:
    """For one thread at a time. The end of the channel is the parent's death, and ends this process."""

    def __init__(self, sock: socket.socket, conversation: Conversation) -> None:
        self._socket = sock
        self._conversation = conversation
        self._frames = channel.FrameBuffer()
        self._received: Deque[Message] = deque()
        self._descriptors: Deque[int] = deque()

    def next(self) -> Message:
        """Waits for it. Raises ``ProtocolError``, ``OSError``."""
        while not self._received:
            data, descriptors = channel.receive_with_descriptors(self._socket)
            self._descriptors.extend(descriptors)
            if not data:
                hold.end_group()
            for frame in self._frames.feed(data):
                self._received.append(self._conversation.received(frame))
        return self._received.popleft()

    def take_descriptor(self) -> int:
        """The next one that came. Raises ``ProtocolError`` where a message that needs one came without it."""
        if not self._descriptors:
            raise ProtocolError("a message came without its descriptors")
        return self._descriptors.popleft()
