"""The model's ``logging``: each record crosses to the application as a record, by the control channel.

One handler on the root logger, there before the model is. It never holds the model up: a record that finds no room is
put off, and of those that are put off only the latest is kept, with a count of the others. So the last word of a flood
arrives, and says how much is missing. Records are sent by the thread that logs, not by a queue and a thread of ours:
what a model logs just before it crashes is the most telling of all, and a queue would die with it.

A model's own handlers work beside this one; ``basicConfig`` finds the root logger in use and does nothing, as it
would in an application that has set up its logging.
"""

from __future__ import annotations

import _thread
import logging
import os
import sys
import threading
from collections import deque
from typing import Any

from isopod.ipc import layout, plain
from isopod.ipc.errors import ProtocolError, SpecError
from isopod.ipc.protocol import Message
from isopod.opeworker import context
from isopod.opeworker.outgoing import Outgoing

_PATIENCE = 0.05  # seconds to wait for another thread that is logging: it takes microseconds, or is stuck
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def install(outgoing: Outgoing, level: int) -> None:
    """Send what the model logs, from ``level`` on, which is that of the application's logger for it."""
    logging.root.addHandler(ChannelHandler(outgoing))
    logging.root.setLevel(max(0, level))


class ChannelHandler(logging.Handler):
    """Offers records to the channel. Safe in any thread, in a finaliser, in a signal handler, and after a fork."""

    def __init__(self, outgoing: Outgoing) -> None:
        super().__init__()
        self._outgoing = outgoing
        self._process = os.getpid()
        self._turn = threading.RLock()
        self._inside = False
        self._put_off: dict[str, Any] | None = None
        self._lost = 0
        self._missed: deque[None] = deque()  # lost without having had the turn; it is appended to by anybody
        self._catching_up = False

    def createLock(self) -> None:  # noqa: N802  (logging's name)
        """None: a record's text is made by the model's code, which must not keep other threads from logging."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """As in ``logging``, without the lock."""
        passed: Any = self.filter(record)
        if passed:
            # From 3.12 on a filter may put another record in its place.
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return bool(passed)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if os.getpid() == self._process:
                self._post(self._fields_of(record))
            else:  # a process that the model forked has no channel, but it has our pipes
                sys.stderr.write(f"{record.levelname} {record.name}: {self.format(record)}\n")
        except (OSError, ProtocolError):
            pass  # the parent is gone, or has been told good-bye: nobody listens
        except Exception:  # goes to stderr: the record's text could not be made
            self.handleError(record)

    def _fields_of(self, record: logging.LogRecord) -> dict[str, Any]:
        extra = [(name, value) for name, value in vars(record).items() if name not in _STANDARD]
        return {
            "level": min(max(0, int(record.levelno)), layout.MAX_LOG_LEVEL),
            "logger": _cut(record.name, layout.MAX_LOG_NAME),
            "text": _cut(self.format(record), layout.MAX_LOG_TEXT),
            "fields": {
                _cut(name, layout.MAX_LOG_NAME): _plain(value) for name, value in extra[: layout.MAX_LOG_FIELDS]
            },
            "path": _cut(record.pathname, layout.MAX_LOG_PATH),
            "line": max(0, int(record.lineno or 0)),
            "function": _cut(record.funcName or "", layout.MAX_LOG_NAME),
            "call": context.running_call(),
        }

    def _post(self, fields: dict[str, Any]) -> None:
        if not self._turn.acquire(timeout=_PATIENCE):
            self._missed.append(None)
            return
        try:
            if self._inside:  # this very thread was sending when a finaliser or a signal handler of the model logged
                self._missed.append(None)
                return
            self._inside = True
            try:
                if not (self._deliver_put_off() and self._offer(fields)):
                    self._lost += self._put_off is not None
                    self._put_off = fields
            finally:
                self._inside = False
            if not self._catching_up and not self._at_rest():
                self._start_catching_up()
        finally:
            self._turn.release()

    def _deliver_put_off(self) -> bool:
        if self._put_off is not None:
            if not self._offer(self._put_off):
                return False
            self._put_off = None
        return True

    def _offer(self, fields: dict[str, Any]) -> bool:
        missed = len(self._missed)
        fields["lost"] = self._lost + missed
        if not self._outgoing.offer(Message("log", fields)):
            return False
        self._lost = 0
        for _ in range(missed):
            self._missed.popleft()
        return True

    def _at_rest(self) -> bool:
        return self._put_off is None and self._outgoing.idle

    def _start_catching_up(self) -> None:
        """A flood may end just here, so somebody must deliver what was put off. The thread ends when it has."""
        self._catching_up = True
        try:
            # The bare call: Thread.start takes locks and waits, and we may be in a signal handler that interrupted one.
            _thread.start_new_thread(self._catch_up, ())
        except RuntimeError:  # no thread to be had: the next record will try
            self._catching_up = False

    def _catch_up(self) -> None:
        try:
            while True:
                self._outgoing.wait()
                with self._turn:
                    self._inside = True
                    try:
                        # Cleared with the turn held: whoever puts something off afterwards starts another thread.
                        if self._deliver_put_off() and self._outgoing.push():
                            self._catching_up = False
                            return
                    finally:
                        self._inside = False
        except (OSError, ProtocolError, ValueError):
            pass  # the parent is gone, or the model closed our descriptors: the worker ends of that elsewhere


def _cut(text: Any, limit: int) -> str:
    """At most ``limit`` bytes of UTF-8; of what is longer, the beginning and the end."""
    data = str(text).encode("utf-8", "backslashreplace")
    if len(data) > limit:
        gap = f" ... {len(data) - limit} bytes left out ... ".encode() if limit > 200 else b"..."
        half = (limit - len(gap)) // 2
        data = data[:half] + gap + data[-half:]
    return data.decode("utf-8", "ignore")


def _plain(value: Any) -> Any:
    """A field's value as it is, where it can cross and is small; else its text."""
    kind = type(value)
    if value is None or kind in (bool, float) or (kind is int and -(1 << 63) <= value < 1 << 63):
        return value
    if kind in (list, tuple, dict) and len(value) <= layout.MAX_LOG_VALUE:
        try:
            data = plain.pack(value)
            if len(data) <= layout.MAX_LOG_VALUE:
                return plain.unpack(data)  # a copy, which the model cannot change any more
        except (SpecError, RuntimeError):
            pass  # something in it cannot cross, or it changes at this moment: its text will do
    try:
        return _cut(value, layout.MAX_LOG_VALUE)
    except Exception as error:  # goes into the field: a record must not be lost for the text of one of its fields
        return f"<{kind.__name__} whose text cannot be had: {type(error).__name__}>"
