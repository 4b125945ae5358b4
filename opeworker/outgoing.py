"""What a worker says to its parent over the control channel: whole frames, in order, from any thread.

A log record may be refused for want of room (``offer``), any other message is always sent (``send``). Neither waits
with the lock held, so somebody who must wait keeps nobody from logging.

A stream socket may take a part of what it is given; the kernel happens to take up to 36 KiB whole or not at all, but
nobody promises that, and a frame cut short would be the end of the channel. So what the socket did not take of a frame
stays in front of everything else until it is gone. (Asking the socket first how much room it has was no answer: the
kernel charges for a small frame several times its bytes, and says neither how much that is nor what is left.)
"""

from __future__ import annotations

import select
import socket
import threading
from collections import deque
from typing import Any

from isopod.ipc import channel
from isopod.ipc.protocol import Conversation, Message


class Outgoing:
    """The writing half of the channel."""

    def __init__(self, sock: socket.socket, conversation: Conversation) -> None:
        self._socket = sock
        self._conversation = conversation
        # Reentrant, and whether it is held by a push: a finaliser or a signal handler of the model may say something in
        # the middle of one. That is refused, or put behind what is being sent, and goes with it.
        self._lock = threading.RLock()
        self._pushing = False
        self._unsent: deque[bytes] = deque()

    @property
    def idle(self) -> bool:
        """Whether the socket has taken all that there was."""
        return not self._unsent

    def send(self, message: str, **fields: Any) -> None:
        """Say something, and wait until the parent has room for it. Raises ``ProtocolError``, ``OSError``."""
        with self._lock:  # what was said first, by the table of the protocol, is sent first
            self._unsent.append(channel.framed(self._conversation.sending(Message(message, fields))))
            if self._pushing:
                return
        while not self.push():
            self.wait()

    def offer(self, message: Message) -> bool:
        """Say something if there is room for it now. Raises ``ProtocolError``, ``OSError``."""
        with self._lock:
            if self._pushing or not self.push():
                return False
            self._pushing = True
            try:
                data = channel.framed(self._conversation.sending(message))
                taken = self._take(data)
                if 0 < taken < len(data):
                    self._unsent.appendleft(data[taken:])
            finally:
                self._pushing = False
            self.push()
            return taken > 0

    def push(self) -> bool:
        """Hand over what is still unsent, as far as there is room. False if something is left."""
        with self._lock:
            if self._pushing:
                return False
            self._pushing = True
            try:
                while self._unsent:
                    data = self._unsent[0]
                    taken = self._take(data)
                    if taken < len(data):
                        self._unsent[0] = data[taken:]
                        return False
                    self._unsent.popleft()
            finally:
                self._pushing = False
            return True

    def wait(self) -> None:
        """Until there is room, or the parent is dead: then the next push raises."""
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        poll.poll()

    def _take(self, data: bytes) -> int:
        try:
            return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return 0
