"""What stands behind a ``Model``: the fleet that serves it now, and everything that outlives a fleet and its workers.

That is the arena for inputs (an array that was made before a crash or a reload still crosses without a copy after it),
the counters, the interface, the last crash, and the fleets of older versions that still answer what they were asked.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from isopod.ipc.arena import Arena
from isopod.ipc.errors import ArenaFull, Closed, SpecError, WorkerUnavailable
from isopod.ipc.segment import Segment
from isopod.ipc.transfer import ArenaOwner, Outbound
from isopod.runtime.admission import Admission
from isopod.runtime.blueprint import Blueprint
from isopod.runtime.calls import Call
from isopod.runtime.fleet import Fleet
from isopod.runtime.health import Health, WorkerHealth
from isopod.runtime.history import History, Origin
from isopod.runtime.interface import Interface
from isopod.runtime.keeper import Keeper
from isopod.runtime.lifecycle import READY, SHUT, STOPPED
from isopod.runtime.observe import recording
from isopod.runtime.observe.phases import COMPUTE, NAMES, settled
from isopod.runtime.process import GARBAGE, REPLACED, WorkerProcess
from isopod.runtime.report import CrashReport
from isopod.runtime.sandbox.report import SandboxReport
from isopod.runtime.session import Session
from isopod.runtime.staffing import Staffing
from isopod.runtime.stats import Counters, Stats, latency
from isopod.runtime.trimming import Trimming
from isopod.runtime.wear import memory_of


class Deployment:
    """Safe for many threads."""

    def __init__(
        self, name: str, staffing: Staffing, memory_limit: int, history: History, *, protected: bool = False
    ) -> None:
        self.name = name
        self._protected = protected  # workers may only read what they are sent
        self.staffing = staffing
        self.counters = Counters()
        self.owner = ArenaOwner(Arena(self._grow, memory_limit, f"model {name!r}", self._reclaim))
        self.history = history
        self.admission = Admission(name, staffing.max_waiting)
        self._outbound = Outbound(self.owner, _any_number, self.counters.add_copied_in)
        counters = self.counters
        self._trimming = Trimming(self.owner.arena, self._living, lambda: counters.runs)
        self.last_crash: CrashReport | None = None
        self._unknown = Interface.unknown(name)
        self._fleet: Fleet | None = None
        self._next: Fleet | None = None  # the version that is being loaded
        self._older: list[Fleet] = []
        self._restarts = 0  # of older fleets
        self._closed = False
        self._process = os.getpid()

    # ------------------------------------------------------------------ a worker for a call

    def running(self) -> Session | None:
        """The worker for the next call, if there is one at this moment. A forked copy must not ask for it: see
        ``check_process``.
        """
        fleet = self._fleet
        return None if fleet is None else fleet.ready()

    def live(self, deadline_ns: int = 0) -> Session:
        """The same, and waits for a worker where there is none.

        Raises ``Closed``, ``WorkerUnavailable`` (with the reason as its cause), ``WorkerTimeout``.
        """
        return self.live_by(lambda: deadline_ns)

    def live_by(self, due: Callable[[], int]) -> Session:
        """The same, by a deadline that may change: ``due`` is asked at each ``wake``."""
        while True:
            session = self.running()
            if session is not None:
                return session
            self.check_open()
            fleet = self._fleet
            if fleet is None:
                raise Closed(f"model {self.name!r} was never loaded")
            try:
                return fleet.await_ready(self.name, due)
            except Closed:
                if fleet is self._fleet:
                    raise  # else it was replaced by a new version while we waited

    def wake(self) -> None:
        """Have those who wait for a worker look how long they may."""
        if self._fleet is not None:
            self._fleet.wake()

    def place(self, call: Call, items: Any, room_by_ns: int) -> None:
        """Copy a call's inputs in, for a worker that is yet to come. Raises ``SpecError``, ``ArenaFull``."""
        call.place(self._outbound, items, room_by_ns)
        try:
            call.encode()  # for what it refuses: a worker's own numbers for the segments come later
        except SpecError:
            call.release()
            raise

    def start(self, blueprint: Blueprint, drain: float | None = None) -> None:
        """Start a fleet, and let it take over from the one before once all of it is ready.

        What the old one was asked, it answers; after ``drain`` seconds (None: as long as it takes) it is ended. Raises
        what kept the new one from starting, and then the old one goes on. One at a time.
        """
        if self._fleet is not None:
            self.check_open()
        old = self._fleet
        fleet = Fleet(blueprint, self.staffing, self._make_session, self._on_death)
        try:
            self._next = fleet  # RACE unseen version: from here on whoever closes the model closes it, too
            self.check_open()
            fleet.start()
            fleet.interface.check_agreement()
            self.check_open()
            self._older = [one for one in (*self._older, old) if one is not None and one.sessions()]
            self._fleet = fleet
            if old is not None:
                self._put_out(old, drain)
        except BaseException:  # Ctrl-C too: it goes on to the caller, and neither of the two stays behind
            if self._fleet is not fleet:
                fleet.close(0.0)
            elif old is not None:
                self._put_out(old, drain)
            raise
        finally:
            self._next = None

    def serves(self, blueprint: Blueprint) -> bool:
        """Whether this is the version that takes the calls."""
        return self._fleet is not None and self._fleet.blueprint is blueprint

    def _put_out(self, old: Fleet, drain: float | None) -> None:
        """Twice is once."""
        self._restarts, old.restarts = self._restarts + old.restarts, 0
        self.counters.output_names = ()
        old.retire(replaced=True)
        if drain is not None:
            old.crew.keeper.after(drain, functools.partial(old.end, REPLACED))

    def _make_session(self, process: WorkerProcess, fleet: Fleet, seat: int) -> Session:
        session = Session(
            fleet.blueprint,
            process,
            self.owner,
            self.counters,
            self.history,
            fleet.crew.scribe,
            fleet,
            fleet.crew.keeper,
            grace=self.staffing.grace,
            max_calls=self.staffing.recycle.max_calls,
            replica=seat,
        )
        session.control.grown = functools.partial(self._trimming.grown, fleet.crew.keeper)
        return session

    def _on_death(self, session: Session) -> None:
        """On the monitor thread, before any caller hears of it."""
        if recording.active is not None:
            recording.active.ended(session)
        if session.crashed and session.report is not None and not self._closed:
            self.counters.crashes += 1
            self.last_crash = session.report
            self.history.note(session.report, session.scribe)

    # ------------------------------------------------------------------ checks

    @property
    def interface(self) -> Interface:
        fleet = self._fleet
        return self._unknown if fleet is None else fleet.interface

    @property
    def is_copy(self) -> bool:
        """Whether this is a forked copy of the application."""
        return os.getpid() != self._process

    def check_process(self) -> None:
        """Raises ``Closed`` in a forked copy of the application: the worker is the original's, and so are its memory
        and its doorbells."""
        if self.is_copy:
            raise Closed(
                f"model {self.name!r} belongs to process {self._process}, which this one was forked from; load it here"
            )

    def check_open(self) -> None:
        self.check_process()
        if self._closed:
            raise Closed(f"model {self.name!r} is closed; load it again")

    # ------------------------------------------------------------------ the truth

    def health(self) -> Health:
        if self.is_copy:  # a forked copy: the workers are the original's
            return Health(SHUT, None, 0.0, self._restarts, self.last_crash)
        fleet = self._fleet
        state, reason = (STOPPED, "") if fleet is None else fleet.state()
        if fleet is not self._fleet and not self._closed:  # RACE old health: a new version has taken over just now
            return self.health()
        sessions = [] if fleet is None or self._closed else fleet.sessions()
        workers = tuple(_health_of(session) for session in sorted(sessions, key=lambda one: one.replica))
        serving = [one for one in workers if one.state == READY] or workers
        return Health(
            state=SHUT if self._closed else state,
            pid=serving[0].pid if serving else None,
            uptime=serving[0].uptime if serving else 0.0,
            restarts=self._restarts + (0 if fleet is None else fleet.restarts),
            last_crash=self.last_crash,
            reason="" if self._closed else reason,
            workers=workers,
        )

    @property
    def origin(self) -> Origin:
        """Where its workers run. Raises ``Closed`` where it was never loaded."""
        if self._fleet is None:
            raise Closed(f"model {self.name!r} was never loaded")
        return self._fleet.blueprint.origin

    @property
    def keeper(self) -> Keeper:
        """Who does things at their time. Raises ``Closed``."""
        fleet = self._fleet
        if fleet is None:
            raise Closed(f"model {self.name!r} was never loaded")
        return fleet.crew.keeper

    @property
    def start_times(self) -> dict[str, float]:
        """Where the time of the last worker's start went, in seconds."""
        fleet = self._fleet
        return {} if fleet is None else fleet.start_times

    def rss(self) -> int:
        """Resident memory of all workers in bytes, shared memory included."""
        fleet = self._fleet
        sessions = [] if fleet is None or self._closed else fleet.sessions()
        return sum(int(memory.rss) for session in sessions for memory in memory_of(session.process))

    def stats(self) -> Stats:
        """Counters and latencies since the model was loaded. Raises ``Closed`` in a forked copy."""
        self.check_process()
        counters, arena = self.counters, self.owner.arena
        marks = settled(counters.marks.copy())
        spans = np.diff(marks, axis=1)
        start = self.start_times
        return Stats(
            calls=counters.calls,
            errors=counters.errors,
            crashes=counters.crashes,
            restarts=self.health().restarts,
            latency=latency(marks[:, -1]),
            compute=latency(spans[:, COMPUTE]),
            phases={name: latency(spans[:, number]) for number, name in enumerate(NAMES)} if len(spans) else {},
            bytes_copied_in=counters.copied_in,
            bytes_copied_out=counters.copied_out,
            rss_bytes=self.rss(),
            shared_bytes=arena.reserved,
            shared_bytes_used=arena.used,
            start_seconds=start.get("total", 0.0),
            start=start,
            runs=counters.runs,
            shared_bytes_outputs=sum(segment.size for one in self._living() for segment in one.control.outbox()),
        )

    def sandbox_report(self) -> SandboxReport:
        """What was seen to hold for the workers that live. Raises ``Closed``."""
        self.check_open()
        fleet = self._fleet
        sessions = [] if fleet is None else fleet.sessions()
        found = [report for session in sessions if (report := session.sandbox_report) is not None]
        if not found:
            raise WorkerUnavailable(f"model {self.name!r} has no worker at this moment; ask again when it is ready")
        mechanisms = dict.fromkeys(one for report in found for one in report.mechanisms)  # of which some may differ
        pids = tuple(pid for report in found for pid in report.pids)
        return replace(found[0], mechanisms=tuple(mechanisms), pids=pids)

    # ------------------------------------------------------------------ the end

    def close(self, timeout: float) -> None:
        """Drain for at most ``timeout`` seconds, then end everything. Closing twice is once."""
        if self.is_copy:
            return  # a forked copy has nothing to close
        self._closed = True
        until = time.monotonic() + timeout
        fleets = self._fleets()
        for fleet in fleets:
            fleet.retire()
        for fleet in fleets:
            fleet.close(max(0.0, until - time.monotonic()))
        self._let_go()

    def abandon(self) -> None:
        """The model was let go without being closed: have its workers ended. Waits for nobody.

        RACE last reference: it may go in any thread, which may hold any lock of ours. So none is taken here.
        """
        fleet = self._fleet
        if not self.is_copy and fleet is not None:
            fleet.crew.keeper.after(0.0, self._abandon)

    def _abandon(self) -> None:
        self._closed = True
        for fleet in self._fleets():
            fleet.end(GARBAGE)
        self._let_go()

    def _let_go(self) -> None:
        self._trimming.close()
        self.owner.arena.close()

    def let_go_after_fork(self) -> None:
        """In a forked copy of the application: what was borrowed is the original's to give back."""
        for fleet in self._fleets():
            fleet.let_go_after_fork()

    def _fleets(self) -> list[Fleet]:
        return [fleet for fleet in (self._next, self._fleet, *self._older) if fleet is not None]

    def _grow(self, size: int) -> Segment:
        try:
            segment = Segment.create(size, "isopod-inputs", protected=self._protected)
        except OSError as error:
            raise ArenaFull(f"model {self.name!r}: the machine has no {size} bytes of memory: {error}") from error
        if self._fleet is not None:
            self._trimming.grown(self._fleet.crew.keeper)
        return segment

    def _reclaim(self) -> None:
        for session in self._living():
            session.reclaim()

    def _living(self) -> list[Session]:
        return [session for fleet in self._fleets() for session in fleet.glimpse()]


def _any_number(_: Segment) -> int:
    """Of a segment, for a worker that is not there yet: it can be given any of them."""
    return 0


def _health_of(session: Session) -> WorkerHealth:
    return WorkerHealth(session.replica, session.life.state, session.process.pid, session.life.uptime, session.answered)
