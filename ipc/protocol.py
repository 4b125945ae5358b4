"""The control protocol as a table: who may say what, when. No sockets, no processes, no time.

::

    spawned ──hello──▶ greeted ──attach──▶ attached ──load──▶ ordered ──guarded──▶ guarded ──proceed──▶ loading
    loading ──ready──▶ ready ──drain──▶ draining ──bye──▶ over            ordered, loading ──failed──▶ over

Between ``ordered`` and ``loading`` the child locks itself, says what it has done, and waits until the parent has seen
that it is so: no code of the model runs before. ``segment`` and ``forget`` (parent) may come at any time from
``attached`` on; ``grow`` (child), answered by ``segment`` or ``refuse``, while loading, ready and draining, and so may
``log`` (child), which nobody answers. A ``trim`` is answered by ``shed`` where there is anything to let go. A message
that the table does not allow raises ``ProtocolError`` and changes nothing.

A *template*, a process that only imports and then forks workers, speaks by a table of its own: it says hello, is
prepared, and answers each ``fork`` with ``forked``, or with ``unfit`` where no worker can come of it any more.
``reap``, of a dead worker, has no answer.
"""

from __future__ import annotations

import threading
from typing import Any, Dict, NamedTuple, Tuple

from isopod.ipc import plain
from isopod.ipc.errors import ProtocolError
from isopod.ipc.layout import MAX_FRAME

CHILD, PARENT = "child", "parent"
VERSION = 2


class Form(NamedTuple):
    """Who sends a message, the type of each of its fields, and how many descriptors go with it."""

    sender: str
    fields: dict[str, type]
    descriptors: int = 0


FORMS = {
    "hello": Form(CHILD, {"version": int, "pid": int, "python": str}),
    "attach": Form(PARENT, {"version": int}, 4),  # control segments in and out, doorbells in and out
    "segment": Form(PARENT, {"index": int, "outbox": bool}, 1),
    "forget": Form(PARENT, {"index": int}),  # a segment that is no more; its number is not used again
    "load": Form(
        PARENT,
        {
            "name": str,
            "target": dict,
            "arguments": dict,
            "environment": dict,
            "memory_limit": int,
            "log_level": int,  # what the application's loggers would drop is not sent
            "sandbox": dict,
        },
    ),
    "guarded": Form(CHILD, {"done": dict}),  # by mechanism
    "proceed": Form(PARENT, {}),
    "ready": Form(CHILD, {"inputs": list, "outputs": list, "open": bool, "timings": dict}),
    "failed": Form(CHILD, {"culprit": str, "error": dict}),
    "log": Form(
        CHILD,
        {
            "level": int,
            "logger": str,
            "text": str,  # with what was raised, and the stack
            "fields": dict,
            "path": str,
            "line": int,
            "function": str,
            "call": int,  # 0: none
            "lost": int,  # records before this one that the channel had no room for
        },
    ),
    "grow": Form(CHILD, {"nbytes": int}),
    "refuse": Form(PARENT, {"nbytes": int}),
    "trim": Form(PARENT, {}),  # a while is over: what was not needed in it can go
    "shed": Form(CHILD, {"indices": list}),  # segments of the outbox that the child has let go of
    "drain": Form(PARENT, {}),
    "bye": Form(CHILD, {}),
    # To a template, and from it.
    "prepare": Form(PARENT, {"version": int, "environment": dict}),
    # Modules to be imported first, and those that a file imports; processors, none for all; the worker's ends of its
    # channel, its output, its errors, its stacks, and its lifeline.
    "fork": Form(PARENT, {"modules": list, "file": str, "cpus": list}, 5),
    "forked": Form(CHILD, {"pid": int, "skipped": dict}),
    "unfit": Form(CHILD, {"reason": str}),
    "reap": Form(PARENT, {"pid": int}),
}

START, OVER = "spawned", "over"
TRANSITIONS = {
    ("spawned", "hello"): "greeted",
    ("greeted", "attach"): "attached",
    ("attached", "segment"): "attached",
    ("attached", "forget"): "attached",
    ("attached", "load"): "ordered",
    ("ordered", "segment"): "ordered",
    ("ordered", "forget"): "ordered",
    ("ordered", "guarded"): "guarded",
    ("ordered", "failed"): "over",
    ("guarded", "segment"): "guarded",
    ("guarded", "forget"): "guarded",
    ("guarded", "proceed"): "loading",
    ("loading", "segment"): "loading",
    ("loading", "forget"): "loading",
    ("loading", "grow"): "loading",
    ("loading", "log"): "loading",
    ("loading", "refuse"): "loading",
    ("loading", "ready"): "ready",
    ("loading", "failed"): "over",
    ("ready", "segment"): "ready",
    ("ready", "forget"): "ready",
    ("ready", "grow"): "ready",
    ("ready", "log"): "ready",
    ("ready", "refuse"): "ready",
    ("ready", "trim"): "ready",
    ("ready", "shed"): "ready",
    ("ready", "drain"): "draining",
    ("draining", "grow"): "draining",
    ("draining", "log"): "draining",
    ("draining", "segment"): "draining",
    ("draining", "forget"): "draining",
    ("draining", "refuse"): "draining",
    ("draining", "trim"): "draining",
    ("draining", "shed"): "draining",
    ("draining", "bye"): "over",
    # The parent may speak before it has read that the child is done.
    ("over", "segment"): "over",
    ("over", "forget"): "over",
    ("over", "drain"): "over",
    ("over", "refuse"): "over",
    ("over", "trim"): "over",
}

TEMPLATE_TRANSITIONS = {
    ("spawned", "hello"): "greeted",
    ("greeted", "prepare"): "ready",
    ("ready", "fork"): "ready",
    ("ready", "forked"): "ready",
    ("ready", "reap"): "ready",
    ("ready", "unfit"): "unfit",
    ("unfit", "fork"): "unfit",  # it was on its way
    ("unfit", "unfit"): "unfit",
    ("unfit", "reap"): "unfit",
}


class Message(NamedTuple):
    """One control message: a name from ``FORMS`` and its fields."""

    name: str
    fields: dict[str, Any]


class Conversation:
    """One side's view of the protocol: checks each message against the form and the state, then moves on."""

    def __init__(self, side: str, table: Dict[Tuple[str, str], str] = TRANSITIONS) -> None:
        self.side = side
        self.state = START
        self._table = table
        # One thread sends while another receives. Reentrant, for a finaliser or a signal handler may log meanwhile.
        self._turn = threading.RLock()

    def sending(self, message: Message) -> bytes:
        """The bytes of a message of ours. Raises ``ProtocolError`` if it is not our turn, or too long."""
        frame = encode(message)
        self._advance(message, self.side)
        return frame

    def received(self, frame: bytes) -> Message:
        """The message in a frame of the other side. Raises ``ProtocolError`` for anything that it may not say now."""
        message = decode(frame)
        self._advance(message, CHILD if self.side == PARENT else PARENT)
        return message

    def _advance(self, message: Message, sender: str) -> None:
        form = FORMS[message.name]
        if form.sender != sender:
            raise ProtocolError(f"the {sender} sent {message.name!r}, which is the other side's")
        with self._turn:
            state = self._table.get((self.state, message.name))
            if state is None:
                raise ProtocolError(f"the {sender} sent {message.name!r} in state {self.state!r}")
            self.state = state


def encode(message: Message) -> bytes:
    """One frame without its length."""
    frame = plain.pack([message.name, message.fields])
    if len(frame) > MAX_FRAME:
        raise ProtocolError(f"a {message.name!r} message of {len(frame)} bytes is too long")
    return frame


def decode(frame: bytes) -> Message:
    """The message in a frame. Raises ``ProtocolError`` unless name, fields and types are those of ``FORMS``."""
    value = plain.unpack(frame)
    if type(value) is not list or len(value) != 2 or type(value[0]) is not str or type(value[1]) is not dict:
        raise ProtocolError("a frame is not a message")
    name, fields = value
    form = FORMS.get(name)
    if form is None:
        raise ProtocolError(f"there is no message {name!r:.40}")
    if fields.keys() != form.fields.keys():
        raise ProtocolError(f"a {name!r} message has the wrong fields")
    for field, kind in form.fields.items():
        if type(fields[field]) is not kind:
            raise ProtocolError(f"field {field!r} of a {name!r} message is a {type(fields[field]).__name__}")
    return Message(name, fields)
