"""The worker behind a model: started once, replaced when it has died, ended when the model is closed.

Holds what outlives a worker process: the environment, the arena for inputs, the counters, the last crash.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from isopod.ipc import plain
from isopod.ipc.arena import Arena
from isopod.ipc.errors import (
    ArenaFull,
    Closed,
    IsopodError,
    SpecError,
    WorkerCrashed,
    WorkerTimeout,
    WorkerUnavailable,
)
from isopod.ipc.segment import Segment
from isopod.ipc.transfer import ArenaOwner
from isopod.runtime import supervisor
from isopod.runtime.control import LoadOrder
from isopod.runtime.deaths import ended_error, load_error, timeout_error
from isopod.runtime.environment import Prepared
from isopod.runtime.history import History, Origin
from isopod.runtime.process import CLOSED, GARBAGE, GIVEN_UP
from isopod.runtime.report import CrashReport
from isopod.runtime.session import Session
from isopod.runtime.stats import Counters
from isopod.runtime.target import Target

_FAREWELL = 5.0  # seconds for a process to vanish once it was killed


class Worker:
    """Keeps one worker alive for one model. Safe for many threads."""

    def __init__(
        self,
        name: str,
        target: Target,
        arguments: dict[str, Any],
        prepared: Prepared,
        memory_limit: int,
        load_timeout: float,
        crash_reports: Path | None = None,
    ) -> None:
        self.name = name
        self.counters = Counters()
        self.owner = ArenaOwner(Arena(self._grow, memory_limit, f"model {name!r}", self._reclaim))
        self.session: Session | None = None
        self._take_interface({"inputs": [], "outputs": [], "open": True})
        self.start: dict[str, float] = {}
        self.last_crash: CrashReport | None = None
        self.history = History(Origin.of(prepared), crash_reports)
        self._target = target
        self._prepared = prepared
        self._load_timeout = load_timeout
        self._starting = threading.Lock()
        self._starting_session: Session | None = None
        self._closed = False
        self._process = os.getpid()
        self._order = LoadOrder(name, target.fields(), arguments, _activation(prepared), memory_limit)

    # ------------------------------------------------------------------ a live session

    def live(self, deadline_ns: int = 0) -> Session:
        """The running session; starts a worker where there is none.

        Raises ``Closed``, ``WorkerUnavailable`` (with the reason as its cause), ``WorkerTimeout`` when another caller's
        start takes longer than ``deadline_ns``.
        """
        session = self.running()
        if session is not None:
            return session
        patience = -1.0 if not deadline_ns else max(0.0, (deadline_ns - time.monotonic_ns()) / 1e9)
        if not self._starting.acquire(timeout=patience):
            raise WorkerTimeout(f"model {self.name!r}: its worker is still being restarted")
        try:
            self.check_open()
            session = self.session
            if session is not None and not session.dead:
                return session
            if session is not None:
                self._bury(session)
            try:
                return self._start()
            except IsopodError as error:
                self.check_open()
                raise WorkerUnavailable(f"model {self.name!r}: no new worker could be started: {error}") from error
        finally:
            self._starting.release()

    def running(self) -> Session | None:
        """The live session, if there is one at this moment. Raises ``Closed`` in a forked copy."""
        self.check_process()
        session = self.session
        return None if session is None or session.dead else session

    def first_start(self) -> None:
        """Start the first worker. Raises what went wrong as it is: ``ModelError``, ``SpecError``, ``WorkerCrashed``,
        …
        """
        with self._starting:
            self._start()

    def _start(self) -> Session:
        began = time.monotonic()
        crew = supervisor.crew()
        process = crew.spawner.spawn(self._prepared.python, self._prepared.variables)
        try:
            session = Session(self.name, process, self.owner, self._order, self.counters, crew.scribe, self.history)
        except BaseException:  # goes on to the caller: out of descriptors, say, or Ctrl-C
            process.discard()
            raise
        self._starting_session = session
        crew.monitor.watch(session)
        try:
            self.check_open()  # it may have been closed by somebody who saw no session to end, and waits for us
            if not session.settled.wait(self._load_timeout):
                session.watch.ask_for_stacks()
                session.give_up(f"it was not ready within its load deadline of {self._load_timeout:g} s")
                raise timeout_error(self.name, self._load_timeout, "loading it", session.report)
            if not session.interface:
                self._explain_failure(session)
        except BaseException:  # Ctrl-C too: it goes on to the caller, and nothing half-started stays
            session.give_up(GIVEN_UP)
            raise
        finally:
            self._starting_session = None
        self._take_interface(session.interface)
        self.start = {**session.interface["timings"], "total": time.monotonic() - began}
        self.session = session
        if self._closed:
            session.give_up(CLOSED)
            self.check_open()
        return session

    def _explain_failure(self, session: Session) -> None:
        session.exited.wait()
        if session.load_failure is not None:
            raise load_error(self.name, str(self._target), *session.load_failure)
        self.last_crash = session.report
        self.counters.crashes += 1
        if session.report is None:
            raise WorkerCrashed(f"the worker of model {self.name!r} ended while it was started")
        raise ended_error(session.report)

    def _bury(self, session: Session) -> None:
        """Take note of a dead session before the next one."""
        # Its dispatcher is not waited for: it may be in a callback that calls this model, and so waits for us.
        session.flight.finish()
        self.last_crash = session.report
        self.counters.crashes += 1
        self.counters.restarts += 1
        self.session = None

    # ------------------------------------------------------------------ the interface

    def check_process(self) -> None:
        """Raises ``Closed`` in a forked copy of the application: the worker is the original's, and so are its memory
        and its doorbells."""
        if os.getpid() != self._process:
            raise Closed(
                f"model {self.name!r} belongs to process {self._process}, which this one was forked from; load it here"
            )

    def check_open(self) -> None:
        self.check_process()
        if self._closed:
            raise Closed(f"model {self.name!r} is closed; load it again")

    def check_input(self, name: str) -> None:
        """Raises ``SpecError`` for a name that the model does not take."""
        if not self._any_input and name not in self._known_inputs:
            takes = ", ".join(self._known_inputs) or "no inputs at all"
            raise SpecError(f"model {self.name!r} has no input {name!r}; it takes {takes}")

    def check_inputs(self, inputs: Mapping[str, Any]) -> None:
        """Raises ``SpecError`` for names that the model does not take, and for those that it misses."""
        if inputs.keys() == self._known_inputs:
            return
        for name in inputs:
            if not isinstance(name, str):
                raise SpecError(f"model {self.name!r}: inputs are given by name, which is str, not {name!r}")
            self.check_input(name)
        for name in self._required_inputs:
            if name not in inputs:
                raise SpecError(f"model {self.name!r} needs the input {name!r}, which was not given")

    def output_names(self) -> list[str]:
        """As declared by the model, or else as first seen."""
        declared = [item["name"] for item in self.interface["outputs"]]
        return declared or list(self.counters.output_names)

    def _take_interface(self, fields: dict[str, Any]) -> None:
        self.interface = fields
        self._any_input = fields["open"]
        self._known_inputs = dict.fromkeys(item["name"] for item in fields["inputs"]).keys()
        self._required_inputs = [item["name"] for item in fields["inputs"] if item["required"]]

    # ------------------------------------------------------------------ the truth

    def state(self) -> str:
        """As ``lifecycle`` has it, for whichever process there is."""
        if self._closed or os.getpid() != self._process:
            return "closed"
        session = self._starting_session or self.session
        return "stopped" if session is None else session.life.state

    def health(self) -> dict[str, Any]:
        session = self.session
        alive = session is not None and not session.dead and os.getpid() == self._process
        return {
            "state": self.state(),
            "pid": session.process.pid if session is not None and alive else None,
            "uptime": session.life.uptime if session is not None and alive else 0.0,
            "restarts": self.counters.restarts,
            "last_crash": session.report if session is not None and session.dead else self.last_crash,
        }

    def rss(self) -> int:
        """Resident memory of the worker in bytes, shared memory included; 0 if there is none."""
        session = self.session
        if session is None or session.dead:
            return 0
        try:
            return int(psutil.Process(session.process.pid).memory_info().rss)
        except psutil.Error:
            return 0

    # ------------------------------------------------------------------ the end

    def close(self, timeout: float) -> None:
        """Drain for at most ``timeout`` seconds, then end it. Closing twice is once."""
        if os.getpid() != self._process:
            return  # a forked copy has nothing to close
        self._closed = True
        starting = self._starting_session
        if starting is not None:
            starting.give_up(CLOSED)
        with self._starting:
            session, self.session = self.session, None
        if session is None:
            self._release_memory()
            return
        session.drain()
        if not session.exited.wait(timeout):
            session.process.kill(CLOSED)
            session.exited.wait(_FAREWELL)
        if session.dead:
            session.flight.finish()
        session.flight.join(_FAREWELL)
        self._release_memory()

    def abandon(self) -> None:
        """The model was let go without being closed: end the process, and wait for nobody."""
        if os.getpid() != self._process:
            return
        session = self.session
        if session is not None and not session.dead:
            session.process.kill(GARBAGE)
        self._release_memory()

    def let_go_after_fork(self) -> None:
        """In a forked copy of the application: what was borrowed is the original's to give back."""
        for session in (self._starting_session, self.session):
            if session is not None:
                session.let_go_after_fork()

    def _release_memory(self) -> None:
        self.owner.arena.close()

    def _grow(self, size: int) -> Segment:
        try:
            return Segment.create(size, "isopod-inputs")
        except OSError as error:
            raise ArenaFull(f"model {self.name!r}: the machine has no {size} bytes of memory: {error}") from error

    def _reclaim(self) -> None:
        session = self.session
        if session is not None:
            session.reclaim()


def plain_arguments(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The load arguments, checked to be plain values that fit into the load message."""
    try:
        size = len(plain.pack(arguments))
    except SpecError as error:
        raise SpecError(f"model {name!r}: its load arguments must be plain values: {error}") from None
    if size > 48 * 1024:
        raise SpecError(f"model {name!r}: its load arguments take {size} bytes; pass a path to large data")
    return arguments


def _activation(prepared: Prepared) -> dict[str, Any]:
    return {
        "sites": [str(path) for path in prepared.site_dirs],
        "prefix": str(prepared.prefix),
        "executable": str(prepared.executable),
    }
