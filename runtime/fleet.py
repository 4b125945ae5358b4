"""The workers of one version of a model: how many there are, who takes the next call, and who takes a dead one's place.

A fleet has *seats*: a number, a name in the logs, one process at a time. As many of them as there are ``workers`` are
*active* and take calls; the others are loaded *spares*, and one becomes active the moment that an active one dies or is
retired. Everything happens by events: the spawner's thread brings processes, the monitor's thread tells of their
readiness and death, the keeper's of deadlines and pauses. Nobody waits for a worker but the callers that need one.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from typing import Any

from isopod.ipc.errors import Closed, IsopodError, WorkerTimeout, WorkerUnavailable
from isopod.runtime import supervisor, wear
from isopod.runtime.blueprint import Blueprint
from isopod.runtime.circuit import OPEN, PROBING, Circuit
from isopod.runtime.deaths import open_error, spawn_error, start_error
from isopod.runtime.interface import Interface
from isopod.runtime.launch import Launch, launch_of
from isopod.runtime.lifecycle import BACKING_OFF, BROKEN, LOADING, READY, STARTING, STOPPED
from isopod.runtime.process import CLOSED, WorkerProcess
from isopod.runtime.resources import pin
from isopod.runtime.session import Session
from isopod.runtime.staffing import Staffing
from isopod.runtime.starter import Starter

_FAREWELL = 5.0  # seconds for a process to vanish once it was killed
# Seconds from a death to the start of another process, where others take the dead one's calls: to start one holds the
# interpreter's lock for a millisecond or more, and nobody waits for it.
_CALLS_FIRST = 0.01


class Fleet:
    """Safe for many threads.

    ``make_session(process, fleet, seat)`` takes a new process in; ``died(session)`` is told of each death, before
    anybody takes the dead one's place.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        staffing: Staffing,
        make_session: Callable[[WorkerProcess, Fleet, int], Session],
        died: Callable[[Session], None],
    ) -> None:
        self.blueprint = blueprint
        self.interface = Interface.unknown(blueprint.order.name)
        self.start_times: dict[str, float] = {}
        self.active: tuple[Session, ...] = ()  # replaced as a whole, so that it can be read without the lock
        self.restarts = 0
        self._staffing = staffing
        self._make_session = make_session
        self.crew = supervisor.crew()  # once: at the end of the application, no other one must come of a late event
        self._starter = Starter(blueprint, self.crew)
        self._died = died
        self._changed = threading.Condition()  # guards everything below
        self._spares: list[Session] = []
        self._launches: list[Launch] = []
        self._worn: set[Session] = set()  # to be retired when a new one is ready in the same seat
        self._retiring: set[Session] = set()
        self._circuit = Circuit(staffing.restart)
        self._not_before = 0.0  # when the next start is due: time.monotonic()
        self._failures = 0
        self._failure: IsopodError | None = None  # of the last start that failed
        self._founding = True  # until all are ready for the first time, a failure ends it all
        self._closed = False

    # ------------------------------------------------------------------ who takes a call

    def ready(self) -> Session | None:
        """The active worker with the fewest calls, or None."""
        active = self.active
        if len(active) == 1:
            return active[0] if active[0].life.state == READY else None
        able = [session for session in active if session.life.state == READY]
        return min(able, key=lambda one: len(one.flight.sent) + len(one.flight.backlog)) if able else None

    def await_ready(self, name: str, due: Callable[[], int]) -> Session:
        """Wait for a worker until ``due()``, as ``time.monotonic_ns()``, 0 for ever; asked at each ``wake``.

        Raises ``WorkerUnavailable`` (one that was awaited could not be started, or none will be for now),
        ``WorkerTimeout``, ``Closed``.
        """
        with self._changed:
            seen = self._failures
            while True:
                session = self.ready()
                if session is not None:
                    return session
                if self._closed:
                    raise Closed(f"model {name!r} is closed; load it again")
                if self._circuit.state == OPEN:
                    raise open_error(name, self._circuit.reason, self._staffing.restart.cooldown)
                if self._failures > seen:
                    what = f"model {name!r}: no new worker could be started: {self._failure}"
                    raise WorkerUnavailable(what) from self._failure
                deadline_ns = due()
                left = (deadline_ns - time.monotonic_ns()) / 1e9 if deadline_ns else None
                if left is not None and left <= 0:
                    raise WorkerTimeout(f"model {name!r}: its worker is still being started")
                self._changed.wait(left)

    def wake(self) -> None:
        """Have those who wait for a worker look how long they may."""
        with self._changed:
            self._changed.notify_all()

    # ------------------------------------------------------------------ starting

    def start(self) -> None:
        """Start all of them, and return when they are ready. Raises what kept the first one from it, and ends all."""
        try:
            with self._changed:
                self._refill()
                while self._failure is None and not self._closed and len(self._loaded()) < self._staffing.seats:
                    self._changed.wait()
                self._founding = False
                if self._failure is not None:
                    raise self._failure
        except BaseException:  # Ctrl-C too: it goes on to the caller, and nothing half-started stays
            self.close(0.0)
            self._failure = None  # its traceback holds this frame
            raise
        if self._staffing.recycle:
            self.crew.keeper.after(wear.LOOK_EVERY, self._look_for_wear)

    def _loaded(self) -> list[Session]:
        return [*self.active, *self._spares]

    def _starting(self) -> list[Session]:
        return [session for launch in self._launches for session in launch.sessions]

    def _refill(self) -> None:
        """Start a worker for each seat that has none. Locked."""
        if self._closed or self._circuit.state == OPEN or (self._failure is not None and self._founding):
            return
        taken = {launch.seat for launch in self._launches}
        taken |= {session.replica for session in self._loaded() if session not in self._worn}
        missing = [seat for seat in range(self._staffing.seats) if seat not in taken]
        pause = self._not_before - time.monotonic()
        if missing and pause > 0:
            self.crew.keeper.after(pause, self._resume)
            return
        if self._circuit.state == PROBING:
            missing = missing[:1] if not self._launches else []
        for seat in missing:
            launch = Launch(seat)
            self._launches.append(launch)
            self._starter.order(self._cpus_for(seat), functools.partial(self._spawned, launch))

    def _resume(self, *, cooled: bool = False) -> None:
        """On the keeper's thread: a pause is over, or the circuit has been open for long enough."""
        with self._changed:
            if cooled:
                self._circuit.cooled()
                if len(self._loaded()) >= self._staffing.seats:  # RACE nothing to probe: a late start took the seat
                    self._circuit.ready()
            self._refill()

    def _cpus_for(self, seat: int) -> frozenset[int] | None:
        cpus = self._staffing.cpus
        return cpus[seat % len(cpus)] if cpus else None

    def _spawned(self, launch: Launch, process: WorkerProcess | None, error: Exception | None) -> None:
        """On a thread of the crew's: there is a process, or a reason why there is none."""
        with self._changed:
            if process is not None and launch in self._launches:
                try:
                    session = self._make_session(process, self, launch.seat)
                    overdue = functools.partial(self._end_overdue, launch, session)
                    launch.take(session, self.crew.keeper.after(self.blueprint.load_timeout, overdue))
                except Exception as failure:  # goes to whoever waits: out of descriptors, say
                    error = failure
            if launch.session is not None:
                self.crew.monitor.watch(launch.session)
                return
            if launch in self._launches:
                self._launches.remove(launch)
                if error is not None:
                    self._note_failure(error)
            self._changed.notify_all()
        if process is not None:
            process.discard()

    def _end_overdue(self, launch: Launch, session: Session) -> None:
        """On the keeper's thread: the load deadline of a launch has passed."""
        if session.life.state != STARTING:  # until it has said hello, the signal would be its death
            session.watch.ask_for_stacks()
        with self._changed:
            if launch in self._launches:  # RACE late load: it is not ready yet, and will not be taken in any more
                session.end_overdue_load()

    def _note_failure(self, error: Exception) -> None:
        """A worker could not even be started. Locked."""
        self._failures += 1
        self._failure = spawn_error(self.interface.model, error)
        self._replace_after(str(self._failure), answered=False, counts=True)

    # ------------------------------------------------------------------ on the monitor's thread

    def on_ready(self, session: Session) -> None:
        with self._changed:
            launch = launch_of(session, self._launches)
            if launch is None or self._closed:
                session.process.kill(CLOSED)
                return
            if session.overdue:
                return  # its end is on its way, and fails the launch
            self._launches.remove(launch)
            launch.over()
            self.interface = Interface(session.name, session.interface, self.blueprint.contract)
            self.start_times = launch.account(session)
            self._circuit.ready()
            if not self._founding:
                self.restarts += 1
            retired = next((worn for worn in self._worn if worn.replica == session.replica), None)
            if retired is not None:
                self._set_out(retired)
            self._settle_in(session)
            self._refill()  # after a probe, the others
            self._changed.notify_all()
        if retired is not None:
            retired.drain(replaced=True)

    def on_ended(self, session: Session) -> None:
        self._died(session)
        with self._changed:
            if session in self._retiring:
                self._retiring.discard(session)
                self._changed.notify_all()
                return
            launch = launch_of(session, self._launches)
            if launch is not None:
                self._launches.remove(launch)
                launch.over()
            if launch is not None or self._founding:  # RACE early death: ready, and dead before all of them were ready
                self._failures += 1
                self._failure = start_error(session, self.blueprint.target, self.blueprint.load_timeout)
            self._worn.discard(session)
            self._set_out(session, retire=False)
            if not self._closed:
                cause = str(self._failure).splitlines()[0] if launch is not None else session.cause_of_death
                counts = not (session.poisoned or session.blameless)
                self._replace_after(cause, answered=session.answered > 0, counts=counts)
            self._changed.notify_all()

    def on_gone(self, session: Session) -> None:
        # What nobody waits for just now is settled, too: an idle generator of ``map`` may hold it for ever.
        self.crew.keeper.after(0.0, session.flight.finish)

    def on_worn(self, session: Session) -> None:
        self.crew.keeper.after(0.0, lambda: self._replace_worn(session))

    def _replace_after(self, cause: str, *, answered: bool, counts: bool) -> None:
        """A worker is gone: fill its seat when the policy says so. Locked."""
        if self._founding:
            return
        was = self._circuit.state
        pause = self._circuit.crashed(time.monotonic(), cause, answered=answered, counts=counts)
        if pause is None:
            if was != OPEN:
                self.crew.keeper.after(self._staffing.restart.cooldown, functools.partial(self._resume, cooled=True))
            return
        self._not_before = time.monotonic() + max(pause, _CALLS_FIRST if self.active else 0.0)
        self._refill()

    def _settle_in(self, session: Session) -> None:
        """It takes calls, or waits as a spare. Locked."""
        if len(self.active) >= self._staffing.workers:
            self._spares.append(session)
            return
        cpus = self._staffing.cpus
        if cpus:
            session.berth = min(set(range(len(cpus))) - {other.berth for other in self.active})
            if cpus[session.berth] != self._cpus_for(session.replica):
                pin(session.process.pid, cpus[session.berth])
        self.active = (*self.active, session)

    def _set_out(self, session: Session, *, retire: bool = True) -> None:
        """It takes no more calls; a spare does, where there is one. Locked."""
        self._worn.discard(session)
        if session in self._spares:
            self._spares.remove(session)
        if retire:
            self._retiring.add(session)
        if session in self.active:
            self.active = tuple(other for other in self.active if other is not session)
            if self._spares and len(self.active) < self._staffing.workers:
                self._settle_in(self._spares.pop(0))

    # ------------------------------------------------------------------ wear

    def _look_for_wear(self) -> None:
        """On the keeper's thread, now and then."""
        if self._closed:
            return
        for session in self._loaded():
            if wear.is_worn(session, self._staffing.recycle):
                self._replace_worn(session)
        self.crew.keeper.after(wear.LOOK_EVERY, self._look_for_wear)

    def _replace_worn(self, session: Session) -> None:
        """Retire it when another one is ready: a spare at once, or else a new one in its seat."""
        with self._changed:
            if self._closed or session in self._worn or session not in self._loaded():
                return
            spare = session in self.active and bool(self._spares)
            if spare:
                self._set_out(session)
            else:
                self._worn.add(session)
            self._refill()
        if spare:
            session.drain(replaced=True)

    # ------------------------------------------------------------------ the truth, and the end

    def sessions(self) -> list[Session]:
        """All that live, whatever they are at."""
        with self._changed:
            return self.glimpse()

    def glimpse(self) -> list[Session]:
        """The same without the lock, for those that may hold others: one that moves just now may be missed."""
        return [*self._loaded(), *self._starting(), *self._retiring]

    def state(self) -> tuple[str, str]:
        """What a caller would meet now: the best that can be said of any of them; and why no calls are taken, or ""."""
        with self._changed:
            if self.ready() is not None:
                return READY, ""
            if not self._circuit.closed:
                return BROKEN, self._circuit.reason
            if self._closed:
                return STOPPED, ""
            if not self._launches:
                return BACKING_OFF, ""
            begun = [session.life.state != STARTING for session in self._starting()]
            return LOADING if any(begun) else STARTING, ""

    def retire(self, *, replaced: bool = False) -> None:
        """Take no more calls; end when the running ones are answered. Does not wait.

        What they do not begin goes on to others if these were ``replaced``.
        """
        with self._changed:
            self._closed = True
            loaded, starting = self._loaded(), self._starting()
            self._retiring.update(loaded, starting)  # first: Ctrl-C may come, and `close` is to find them
            for launch in self._launches:
                launch.over()
            self.active, self._spares, self._launches = (), [], []
            self._worn.clear()
            self._changed.notify_all()
        for session in starting:
            session.process.kill(CLOSED)
        for session in loaded:
            session.drain(replaced=replaced)

    def close(self, timeout: float) -> None:
        """Let running calls finish for at most ``timeout`` seconds, then end everything. Twice is once."""
        until = time.monotonic() + timeout
        self.retire()
        alive = self.sessions()
        for session in alive:
            if not session.exited.wait(max(0.0, until - time.monotonic())):
                session.process.kill(CLOSED)
        for session in alive:
            if session.exited.wait(_FAREWELL):
                session.flight.finish()
            session.flight.join(_FAREWELL)
        self.crew.scribe.flush()
        self._part()

    def end(self, reason: str) -> None:
        """End all now, and wait for nobody."""
        self.retire()
        for session in self.sessions():
            session.process.kill(reason)
        self._part()

    def _part(self) -> None:
        """Let go of whoever made us: both would be garbage in a circle. No process is taken in any more."""
        self._died = self._make_session = _nobody
        self._starter.close()
        self.blueprint.release()

    def let_go_after_fork(self) -> None:
        for session in self.glimpse():  # the lock may have been held by a thread that there is no copy of
            session.let_go_after_fork()


def _nobody(*_: object) -> Any:
    """Who takes processes in, and hears of deaths, once a fleet is closed."""
