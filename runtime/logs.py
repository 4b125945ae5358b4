"""A worker's output: lines and log records on their way to ``logging``, and the last of them for a crash report.

The pipes are always drained, so a model can print as much as it likes and never blocks on a full pipe. What is done
here is done on the monitor thread, which watches every worker, so it is little: cut the bytes into lines, keep the last
ones, pass them on. They are made readable where they are read, by the scribe or for a report.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from isopod.ipc import layout, plain
from isopod.ipc.errors import ProtocolError
from isopod.runtime.scribe import Outlet, Told
from isopod.runtime.terminal import clean, visible

_MAX_LINE = 16_384  # bytes; a longer line is cut into pieces
_TAIL = 40
_WORD = 1 << 63


class LineLog:
    """One stream of one worker. ``feed`` it what was read; ``finish`` at its end.

    ``running`` says which call the worker is at, if any.
    """

    def __init__(self, outlet: Outlet, stream: str, running: Callable[[], int | None]) -> None:
        self._outlet = outlet
        self._stream = stream
        self._running = running
        self._level = logging.WARNING if stream == "stderr" else logging.INFO
        self._rest = b""
        self._tail: deque[bytes] = deque(maxlen=_TAIL)

    @property
    def tail(self) -> list[str]:
        """The last lines, whether they were logged or dropped."""
        return [text for line in self._tail.copy() if (text := visible(line)) or not line.strip()]

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _MAX_LINE or (lines and max(map(len, lines)) > _MAX_LINE):
            lines = [piece for line in lines for piece in _pieces(line)]
            *more, self._rest = _pieces(self._rest)
            lines += more
        self._pass_on(lines)

    def finish(self) -> None:
        if self._rest:
            self._pass_on([self._rest])
            self._rest = b""

    def remember(self, text: str) -> None:
        """Something that was said another way belongs among the last words too."""
        self._tail.extend(line.encode("utf-8", "backslashreplace") for line in text.split("\n")[-_TAIL:])

    def _pass_on(self, lines: list[bytes]) -> None:
        self._tail.extend(lines[-_TAIL:])
        self._outlet.say(self._stream, self._level, self._running(), lines)


def _pieces(line: bytes) -> list[bytes]:
    """A line in pieces of at most ``_MAX_LINE``: cut between two states of a progress bar, or else between
    two characters."""
    pieces = []
    while len(line) > _MAX_LINE:
        end = line.rfind(b"\r", 1, _MAX_LINE) + 1
        if not end:
            end = _MAX_LINE
            while end > _MAX_LINE - 3 and line[end] & 0xC0 == 0x80:  # in the middle of a character
                end -= 1
        pieces.append(line[:end])
        line = line[end:]
    return [*pieces, line]


class RecordLog:
    """What a model says by Python's ``logging``."""

    def __init__(self, outlet: Outlet, stderr: LineLog) -> None:
        self._outlet = outlet
        self._stderr = stderr

    def feed(self, fields: dict[str, Any]) -> None:
        """Take in a ``log`` message. Raises ``ProtocolError`` for what no worker of ours would send."""
        told, lost = checked_record(fields)
        self._outlet.drop(lost)
        self._outlet.tell(told)
        self._stderr.remember(f"{logging.getLevelName(told.level)} {told.logger}: {told.text}")


def checked_record(fields: dict[str, Any]) -> tuple[Told, int]:
    """The record in a ``log`` message, and how many before it are lost.

    The table of messages has checked the types. Raises ``ProtocolError`` for a number or a length out of bounds.
    """
    numbers = {"level": layout.MAX_LOG_LEVEL, "line": _WORD, "call": _WORD, "lost": _WORD}
    for name, limit in numbers.items():
        if not 0 <= fields[name] <= limit:
            raise ProtocolError(f"the {name} of a log record is {fields[name]}")
    extra = fields["fields"]
    if len(extra) > layout.MAX_LOG_FIELDS:
        raise ProtocolError(f"a log record has {len(extra)} fields")
    texts = [
        (fields["text"], layout.MAX_LOG_TEXT),
        (fields["path"], layout.MAX_LOG_PATH),
        *((name, layout.MAX_LOG_NAME) for name in (fields["logger"], fields["function"], *extra)),
        *((value, layout.MAX_LOG_VALUE) for value in extra.values() if isinstance(value, str | bytes)),
    ]
    if any(len(text) > limit for text, limit in texts):
        raise ProtocolError("a text in a log record is too long")
    # A list takes up to 64 times its size on the wire: an empty one within it is one byte there.
    lists = [len(plain.pack(value)) for value in extra.values() if type(value) in (list, dict)]
    if lists and max(lists) > layout.MAX_LOG_VALUE:
        raise ProtocolError("a list in a log record is too long")
    told = Told(
        fields["level"],
        _on_one_line(fields["logger"]),
        fields["text"],
        {_on_one_line(name): clean(value) if type(value) is str else value for name, value in extra.items()},
        _on_one_line(fields["path"]),
        fields["line"],
        _on_one_line(fields["function"]),
        fields["call"] or None,
        sum(len(text) for text, _ in texts) + 64 * (len(extra) + sum(lists)),
    )
    return told, fields["lost"]


def _on_one_line(name: str) -> str:
    return clean(name).replace("\n", " ")


class FaultLog:
    """What ``faulthandler`` wrote: the Python stacks at a fatal signal, or when they were asked for."""

    _LIMIT = 65_536

    def __init__(self) -> None:
        self.told = threading.Event()  # set by whatever comes
        self._data = b""

    def feed(self, data: bytes) -> None:
        self._data = (self._data + data)[: self._LIMIT]
        self.told.set()

    @property
    def text(self) -> str:
        return clean(self._data.decode("utf-8", "backslashreplace")).strip()
