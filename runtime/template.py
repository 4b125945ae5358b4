"""Templates: processes that have imported a model's framework, and fork its workers in milliseconds.

There is one for each environment as workers see it: interpreter, packages, variables, thread counts. It is started by
the first model that asks, and ended with the last one. Where nothing can come of it (it died before its first worker,
or a library in it cannot be forked), its models are told of in the log, and have their workers spawned: what keeps a
framework from being imported is best explained by a worker of its own.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import select
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from isopod.ipc import channel, protocol
from isopod.ipc.errors import Closed, ProtocolError
from isopod.ipc.protocol import Message
from isopod.runtime.keeper import Keeper, Timer
from isopod.runtime.monitor import Monitor, Watch
from isopod.runtime.process import CLOSED, WorkerProcess, both_ends, stat_of
from isopod.runtime.scribe import Scribe

_logger = logging.getLogger("isopod")
_DEATH = 5_000  # milliseconds for a process to vanish once it was killed
_ABSENT, _STARTING, _READY, _UNFIT = "absent", "starting", "ready", "unfit"

# What is done with a new process, or with the reason why there is none.
Then = Callable[[WorkerProcess | None, Exception | None], None]


class Orderable(Protocol):
    """Who spawns processes. Does not wait."""

    def order(
        self,
        python: Path,
        variables: Mapping[str, str],
        cpus: frozenset[int] | None,
        then: Then,
        role: Any = ...,
    ) -> None: ...


@dataclass(frozen=True)
class Kind:
    """What workers of one template have in common, and how they are started without it."""

    python: Path
    variables: tuple[tuple[str, str], ...]
    sites: tuple[str, ...]
    prefix: str
    executable: str
    threads: tuple[int, ...]

    @classmethod
    def of(cls, python: Path, variables: Mapping[str, str], activation: Mapping[str, Any]) -> Kind:
        sites, threads = tuple(activation["sites"]), tuple(activation["threads"])
        items = tuple(sorted(variables.items()))
        return cls(python, items, sites, activation["prefix"], activation["executable"], threads)

    def activation(self) -> dict[str, Any]:
        """As the child is told."""
        return {
            "sites": list(self.sites),
            "prefix": self.prefix,
            "executable": self.executable,
            "threads": list(self.threads),
        }


class _Order(NamedTuple):
    model: str
    modules: tuple[str, ...]
    file: str
    cpus: frozenset[int] | None
    then: Then
    deadline: Timer

    def fields(self) -> dict[str, Any]:
        return {"modules": list(self.modules), "file": self.file, "cpus": sorted(self.cpus or ())}


class Templates:
    """Those of this application, by what they are templates of. Safe for many threads."""

    def __init__(self, spawner: Orderable, monitor: Monitor, keeper: Keeper, scribe: Scribe) -> None:
        self._crew = (spawner, monitor, keeper, scribe)
        self._lock = threading.Lock()
        self._templates: dict[Kind, tuple[Template, int]] = {}

    def take(self, kind: Kind) -> Template:
        """The template of that kind, until ``leave``."""
        with self._lock:
            template, users = self._templates.get(kind) or (Template(kind, *self._crew), 0)
            self._templates[kind] = template, users + 1
            return template

    def leave(self, template: Template) -> None:
        """One model has no more need of it; with the last one it ends."""
        with self._lock:
            _, users = self._templates[template.kind]
            self._templates[template.kind] = template, users - 1
            if users > 1:
                return
            del self._templates[template.kind]
        template.end()


class Template:
    """One template. Orders are answered in their order; ``on_…`` is called on the monitor's thread."""

    def __init__(self, kind: Kind, spawner: Orderable, monitor: Monitor, keeper: Keeper, scribe: Scribe) -> None:
        self.kind = kind
        self._spawner, self._monitor, self._keeper, self._scribe = spawner, monitor, keeper, scribe
        self._lock = threading.RLock()  # guards all below; a model's ``then`` is called without it
        self._state = _ABSENT
        self._child: _Child | None = None
        self._waiting: deque[_Order] = deque()
        self._reason = ""
        self._ended = False

    def order(
        self,
        model: str,
        modules: tuple[str, ...],
        file: str,
        cpus: frozenset[int] | None,
        then: Then,
        seconds: float,
    ) -> None:
        """Have a worker forked. Does not wait. After ``seconds`` the template is given up, and it is spawned instead.

        ``modules``, and what ``file`` imports at its top, are imported by the template before. ``then`` is called on
        the monitor's or the spawner's thread, and may not block.
        """
        with self._lock:
            order = _Order(model, modules, file, cpus, then, self._keeper.after(seconds, self._overdue))
            if self._state == _ABSENT:
                self._state = _STARTING
                self._spawner.order(self.kind.python, dict(self.kind.variables), None, self._spawned, "template")
            if self._state != _UNFIT:
                self._waiting.append(order)
                self._pass_on()
                return
        self.spawn_instead(order)

    def end(self) -> None:
        """No model needs it any more. The workers that it made live on."""
        self._ended = True
        self._give_up("its models are closed", CLOSED)

    def _overdue(self) -> None:
        """On the keeper's thread: an order's time is over."""
        self._give_up("it did not fork a worker in time", "it did not fork a worker in time")

    def _give_up(self, why: str, reason: str) -> None:
        with self._lock:
            self._state, self._reason = _UNFIT, self._reason or why
            child = self._child
        if child is not None:
            child.process.kill(reason)
        else:
            self._fall_back([])

    def _pass_on(self) -> None:
        """Send what waits. Locked."""
        while self._state == _READY and self._child is not None and self._waiting:
            if not self._child.fork(self._waiting[0]):
                self._child.process.kill("it does not read its control channel")
                return  # its death spawns them
            self._waiting.popleft()

    # ------------------------------------------------------------------ its life

    def _spawned(self, process: WorkerProcess | None, error: Exception | None) -> None:
        """On the spawner's thread."""
        with self._lock:
            if process is not None and self._state == _STARTING:
                self._child = _Child(self, process, self._waiting[0].model, self._scribe)
                self._monitor.watch(self._child)
                return
            self._state = _UNFIT
            self._reason = self._reason or f"it could not be started: {error}"
        if process is not None:
            process.discard()
        self._fall_back([])

    def greeted(self) -> None:
        with self._lock:
            if self._state == _STARTING:
                self._state = _READY
                self._pass_on()

    def unfit(self, reason: str) -> None:
        with self._lock:
            self._state, self._reason = _UNFIT, reason

    def died(self, child: _Child, orders: list[_Order]) -> None:
        """``orders`` were with it."""
        with self._lock:
            self._child = None
            if self._state != _UNFIT and child.forked:
                self._state = _ABSENT  # the next order starts another one
            else:
                self._state = _UNFIT
                self._reason = self._reason or "it died before its first worker; its last lines are in the log"
        self._fall_back(orders)

    def _fall_back(self, orders: list[_Order]) -> None:
        with self._lock:
            left = [*orders, *self._waiting]
            self._waiting.clear()
        for order in left:
            self.spawn_instead(order)

    def spawn_instead(self, order: _Order) -> None:
        """Nothing can come of it here."""
        order.deadline.cancel()
        if self._ended:
            order.then(None, Closed(f"model {order.model!r} was closed while it was loaded"))
            return
        if self._reason:
            _logger.warning(
                "model %r: its worker is spawned, not forked from a template: %s", order.model, self._reason
            )
        self._spawner.order(self.kind.python, dict(self.kind.variables), order.cpus, order.then)


class _Child:
    """A template's process, and what it is asked for."""

    def __init__(self, template: Template, process: WorkerProcess, model: str, scribe: Scribe) -> None:
        self.process = process
        self.watch = Watch(process, f"{model}.template", scribe)
        self.forked = False
        self._template = template
        self._conversation = protocol.Conversation(protocol.PARENT, protocol.TEMPLATE_TRANSITIONS)
        self._frames = channel.FrameBuffer()
        self._sent: deque[tuple[_Order, WorkerProcess]] = deque()
        self._lock = threading.Lock()

    def fork(self, order: _Order) -> bool:
        """Ask for a worker; False if it does not listen."""
        try:
            with both_ends() as (worker, theirs):
                worker.adopted = True
                self._sent.append((order, worker))  # first: the answer may be quicker than this thread
                try:
                    self._send("fork", theirs, **order.fields())
                except BaseException:  # goes on to whoever asked
                    self._sent.pop()
                    raise
        except (OSError, ProtocolError):
            return False
        return True

    def _send(self, message: str, descriptors: tuple[int, ...] = (), /, **fields: Any) -> None:
        with self._lock:
            frame = self._conversation.sending(Message(message, fields))
            channel.send_frame(self.process.control, frame, descriptors)

    # ------------------------------------------------------------------ on the monitor's thread

    def on_control(self, data: bytes) -> None:
        try:
            for frame in self._frames.feed(data):
                self._on_message(self._conversation.received(frame))
        except (OSError, ProtocolError) as error:
            self.process.kill(f"it broke the control protocol: {error}")

    def _on_message(self, message: Message) -> None:
        if message.name == "hello":
            self._send("prepare", version=protocol.VERSION, environment=self._template.kind.activation())
            self._template.greeted()
            return
        if not self._sent:
            raise ProtocolError("it answered what it was not asked")
        order, worker = self._sent.popleft()
        if message.name == "forked":
            self.forked = True
            for name, why in message.fields["skipped"].items():
                _logger.warning("model %r: its template could not import %.80s: %.400s", order.model, name, why)
            order.deadline.cancel()
            try:
                self._adopt(worker, message.fields["pid"])
            except OSError as error:
                worker.close()  # the end of its lifeline ends it
                order.then(None, error)
                return
            order.then(worker, None)
        else:
            worker.close()
            self._template.unfit(message.fields["reason"])
            if not self.forked:  # else it has workers to reap
                self.process.kill("no worker can come of it")
            self._template.spawn_instead(order)

    def _adopt(self, worker: WorkerProcess, pid: int) -> None:
        pidfd = os.pidfd_open(pid)
        found = stat_of(pid)
        if found is None or found.parent != self.process.pid:  # until it says so, its children's numbers stay theirs
            os.close(pidfd)
            raise ProcessLookupError("the template named a process that is not its own")
        worker.born(pid, pidfd, functools.partial(self._reap, pid, pidfd))

    def _reap(self, pid: int, pidfd: int) -> tuple[int | None, int]:
        """How a worker ended, as the kernel shows it until it is reaped. Its peak of memory is not known."""
        select.select([pidfd], [], [], _DEATH / 1000)
        found = stat_of(pid)
        with contextlib.suppress(OSError, ProtocolError):
            self._send("reap", pid=pid)
        if found is None or found.parent != self.process.pid:
            return None, 0  # the template is dead: somebody else has reaped it
        return os.waitstatus_to_exitcode(found.status), 0

    def on_exit(self, status: int | None, peak_rss: int) -> None:
        del status, peak_rss
        orders = []
        for order, worker in self._sent:
            worker.close()
            orders.append(order)
        self._sent.clear()
        self._template.died(self, orders)
