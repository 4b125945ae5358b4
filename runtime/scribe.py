"""The scribe: the thread that hands what workers say to ``logging``, and how much of it each may say.

Handlers of ``logging`` are user's code and may be slow, so they run on a thread of their own. A worker's *outlet*
stands between the monitor and that thread: it lets through a generous number of lines a second, keeps a bounded number
waiting, and counts what it drops, for each worker by itself, so that none takes another's place. A count is told within
a second, whether the flood goes on or not.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from isopod.runtime.terminal import clean, visible

RATE, BURST = 2_000, 10_000  # lines a second of one worker, and how many at once after a rest
_BACKLOG_LINES, _BACKLOG_BYTES = 10_000, 8 << 20  # of one worker, that wait for a slow handler
_NOTICE = 1.0  # seconds from the first dropped line until their number is told
_FAREWELL = 2.0  # seconds for what is there at the end
_FLUSH = 1.0  # seconds for the last words of a model that is closed
_MAX_LOGGERS = 256  # below one worker: the application's loggers are never freed
_MAX_DEPTH = 16  # names below one worker's logger: each is a logger too
_LOGGING = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "model", "replica", "stream", "call"}


class Told(NamedTuple):
    """A log record of a model, checked."""

    level: int
    logger: str
    text: str
    fields: dict[str, object]
    path: str
    line: int
    function: str
    call: int | None
    nbytes: int  # that it takes here, about


class _Entry(NamedTuple):
    """What waits: lines of a stream, or a record of the model's own."""

    outlet: Outlet
    stream: str
    level: int
    call: int | None
    lines: Sequence[bytes] = ()
    told: Told | None = None
    counted: int = 0  # how many lines its outlet has waiting for it
    nbytes: int = 0


class Allowance:
    """A token bucket: ``rate`` a second, and ``burst`` at once after a rest."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left = float(burst)
        self._at = clock()

    def take(self, wanted: int) -> int:
        """How many of them are granted."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        granted = min(wanted, int(self._left))
        self._left -= granted
        return granted


class Outlet:
    """One worker's way to the scribe. Any thread may use it, and none ever waits."""

    def __init__(
        self, scribe: Scribe, model: str, replica: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.model, self.replica = model, replica
        self.logger = logging.getLogger(f"isopod.worker.{model}.{replica}")
        self._scribe = scribe
        self._allowance = Allowance(RATE, BURST, clock)
        # The scribe's lock guards these:
        self.lines = self.nbytes = 0  # that wait
        self.dropped = 0
        self.notice_at = 0.0

    def say(self, stream: str, level: int, call: int | None, lines: Sequence[bytes]) -> None:
        """Lines that were read together."""
        if not lines or not self.logger.isEnabledFor(level):
            return
        with self._scribe.changed:
            sizes = list(map(len, lines))
            granted = self._allowance.take(self._fitting(sizes))
            if granted:
                nbytes = sum(sizes[:granted])
                self._scribe.put(_Entry(self, stream, level, call, lines[:granted], None, granted, nbytes))
            self._drop(len(lines) - granted)

    def tell(self, told: Told) -> None:
        """A record of the model's own."""
        with self._scribe.changed:
            if self._fitting([told.nbytes]) and self._allowance.take(1):
                self._scribe.put(_Entry(self, "logging", told.level, told.call, (), told, 1, told.nbytes))
            else:
                self._drop(1)

    def drop(self, count: int) -> None:
        """Lines that were lost before they came here."""
        with self._scribe.changed:
            self._drop(count)

    def _fitting(self, sizes: Sequence[int]) -> int:
        """How many lines of these sizes there is room for."""
        count = min(len(sizes), _BACKLOG_LINES - self.lines)
        room = _BACKLOG_BYTES - self.nbytes
        while count and sum(sizes[:count]) > room:
            count //= 2
        return count

    def _drop(self, count: int) -> None:
        if count:
            if not self.dropped:
                self._scribe.expect_notice(self)
            self.dropped += count


class Scribe:
    """The thread, and what waits for it."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.Lock())
        self._entries: deque[_Entry | Callable[[], None]] = deque()
        self._dropping: list[Outlet] = []  # in the order in which their notices are due
        self._children: dict[str, set[str]] = {}  # names of models' own loggers, by that of the worker
        self._overrun: set[str] = set()  # those that have no room for more
        self._stopping = self._abandoned = False
        self._flushed = threading.Event()  # the last flush has come to its end
        self._flushed.set()
        self._thread = threading.Thread(target=self._run, name="isopod-scribe", daemon=True)
        self._thread.start()

    def put(self, entry: _Entry) -> None:
        """``changed`` is held."""
        entry.outlet.lines += entry.counted
        entry.outlet.nbytes += entry.nbytes
        self._entries.append(entry)
        self.changed.notify()

    def run(self, task: Callable[[], None]) -> None:
        """Have something done here that may take its time, such as writing to a disk. Never waits, must not raise."""
        with self.changed:
            self._entries.append(task)
            self.changed.notify()

    def flush(self, timeout: float = _FLUSH) -> None:
        """Wait until what was said up to now is handed over, for at most ``timeout`` seconds: a handler may hang.

        One that hangs is waited for once, not by each model that is closed. One that closes a model itself is not.
        """
        if not self._flushed.is_set() or threading.current_thread() is self._thread:
            return
        done = self._flushed = threading.Event()
        self.run(done.set)
        done.wait(timeout)

    def expect_notice(self, outlet: Outlet) -> None:
        """An outlet begins to drop. ``changed`` is held."""
        outlet.notice_at = time.monotonic() + _NOTICE
        self._dropping.append(outlet)
        self.changed.notify()

    def stop(self, timeout: float = _FAREWELL) -> None:
        """Hand over what is there, for at most ``timeout`` seconds: a handler may hang. Then end."""
        with self.changed:
            self._stopping = True
            self.changed.notify()
        self._thread.join(timeout)
        self._abandoned = True

    def _run(self) -> None:
        while not self._abandoned:
            with self.changed:
                entry = self._next()
            if entry is None:
                return
            if not isinstance(entry, _Entry):
                entry()
                continue
            if entry.told is not None:
                self._tell(entry, entry.told)
            for line in entry.lines:
                text = visible(line)
                if (text or not line.strip()) and not self._abandoned:  # codes alone are nothing to be seen
                    self._log(entry, entry.outlet.logger, entry.level, text, (f"<{entry.stream}>", 0, None))

    def _next(self) -> _Entry | Callable[[], None] | None:
        """What to write next; None when all is written and we are to stop. ``changed`` is held."""
        while True:
            while self._dropping and (self._stopping or self._dropping[0].notice_at <= time.monotonic()):
                outlet = self._dropping.pop(0)
                notice = f"... {outlet.dropped} lines were dropped: they came too fast".encode()
                self._entries.append(_Entry(outlet, "logging", logging.WARNING, None, (notice,)))
                outlet.dropped = 0
            if self._entries:
                entry = self._entries.popleft()
                if isinstance(entry, _Entry):
                    entry.outlet.lines -= entry.counted
                    entry.outlet.nbytes -= entry.nbytes
                return entry
            if self._stopping:
                return None
            self.changed.wait(max(0.0, self._dropping[0].notice_at - time.monotonic()) if self._dropping else None)

    def _tell(self, entry: _Entry, told: Told) -> None:
        where = (told.path, told.line, told.function)
        self._log(entry, self._logger_of(entry, told.logger), told.level, clean(told.text), where, told.fields)

    def _logger_of(self, entry: _Entry, name: str) -> logging.Logger:
        base = entry.outlet.logger
        if name in ("", "root"):
            return base
        known = self._children.setdefault(base.name, set())
        if name not in known:
            if len(known) >= _MAX_LOGGERS or name.count(".") >= _MAX_DEPTH:
                if base.name not in self._overrun:
                    self._overrun.add(base.name)
                    text = (
                        f"too many loggers, or too deep: records of new ones, such as {name!r}, come here from now on"
                    )
                    self._log(entry, base, logging.WARNING, text, ("<logging>", 0, None))
                return base
            known.add(name)
        return logging.getLogger(f"{base.name}.{name}")

    @staticmethod
    def _log(
        entry: _Entry,
        logger: logging.Logger,
        level: int,
        text: str,
        where: tuple[str, int, str | None],
        fields: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        try:
            if not logger.isEnabledFor(level):
                return
            record = logger.makeRecord(logger.name, level, where[0], where[1], text, (), None, where[2])
            known = vars(record)
            for name, value in fields.items():
                # What is logging's, or ours, is neither replaced nor hidden: such a field has another name here.
                ours = name in known or name in _LOGGING or hasattr(type(record), name)
                known.setdefault(f"field_{name}" if ours else name, value)
            outlet = entry.outlet
            known.update(model=outlet.model, replica=outlet.replica, stream=entry.stream, call=entry.call)
            logger.handle(record)
        except BaseException:  # goes to stderr, as logging's own do: a filter or a record factory raised, or left
            if logging.raiseExceptions and sys.stderr is not None:
                traceback.print_exc()
