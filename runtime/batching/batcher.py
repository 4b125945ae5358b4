"""Puts the calls of several callers together, and gives each its part of the answer.

A caller writes its rows straight into the block that will be sent, and waits. The block goes when it is full; or when a
worker has nothing to do and as many callers have come as were in the batch before, since those that have just been
answered are about to call again; or when ``max_delay`` is over. So a lone caller waits for nobody, and while a worker
computes, the next batch grows.

Whoever makes the last of these conditions true sends the batch: a caller who joins it, the dispatcher thread that has
taken in the answer to the one before, or the keeper when a time is over. The batch is an ordinary call that nobody
waits for, with everything that such a call has: its deadline is the latest of its callers', and whoever has less time
leaves alone, so no worker is ended for one of them while it computes for others.

A batch that its worker did not begin before it died goes on whole. Of one that was begun each call is tried again by
itself, if ``retries`` allow it: one of them may be what killed the worker, and the others must not meet it again.

RACE stranded batch: Ctrl-C strikes the main thread anywhere, also while it holds what others wait for. So what is to
happen next is always written down in the state of a group, and the keeper looks at those that nobody moved on.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

from isopod.ipc.errors import Closed, ModelError, WorkerCrashed, WorkerUnavailable
from isopod.runtime.alarm import Alarm
from isopod.runtime.batching.departures import Departures
from isopod.runtime.batching.group import GATHERING, SEALED, Group, Member
from isopod.runtime.batching.outcomes import Outcomes
from isopod.runtime.batching.roster import LOOK_UP_NS, Roster
from isopod.runtime.batching.rows import TEXT_KINDS, Array, Rows
from isopod.runtime.batching.settings import Batch
from isopod.runtime.calls import Call
from isopod.runtime.deployment import Deployment
from isopod.runtime.futures import Place
from isopod.runtime.request import Request
from isopod.runtime.second_chances import SecondChances
from isopod.runtime.session import Session


class Batcher:
    """Safe for many threads. It is a ``Place``: where the future of a call in a batch is cancelled."""

    def __init__(self, batch: Batch, deployment: Deployment, second_chances: SecondChances) -> None:
        self._batch = batch
        self._delay_ns = int(min(batch.max_delay, 1e6) * 1e9)
        self._deployment = deployment
        self._second_chances = second_chances
        self._roster = Roster()
        self._lock = self._roster.lock
        self._closed = False
        self._alarm = Alarm(self._look)
        self._outcomes = Outcomes(deployment, second_chances, self._lock)
        self._departures = Departures(deployment.name, self._roster, self._outcomes)

    # ------------------------------------------------------------------ joining

    def answer(self, request: Request, alone: Callable[[Request], Call]) -> Call:
        """The call of a caller who waits, with its outcome. ``alone`` runs it, where there is no company for it."""
        if self._quiet():
            try:
                return alone(request)
            finally:
                self.kick()
        seen: list[Member] = []
        try:
            member = self.join(request, None, threaded=False, room_by_ns=request.room_by, seen=seen.append)
            self.wait(member)
        except BaseException:  # goes on to the caller: RACE unwaited call
            for member in seen:
                self.abandon(member)
            raise
        return member

    def join(
        self,
        request: Request,
        told: Callable[[Call], None] | None,
        *,
        threaded: bool,
        room_by_ns: int,
        seen: Callable[[Member], None] = lambda _: None,
    ) -> Member:
        """Have it run with others, and return at once; ``told`` hears of its outcome, as with ``Call``.

        ``seen`` is given what can be cancelled, before anything may come of it. Raises ``SpecError``, ``ArenaFull``,
        ``Closed``.
        """
        member = self._member(request, told, threaded=threaded)
        seen(member)
        try:
            self._join(member, room_by_ns)
        except BaseException:  # goes on to the caller
            self.abandon(member)
            raise
        return member

    def wait(self, member: Call) -> None:
        """For one that was joined without ``told``. Whoever does not wait to the end abandons it."""
        member.wake.acquire()  # type: ignore[union-attr]

    def _member(self, request: Request, told: Callable[[Call], None] | None, *, threaded: bool) -> Member:
        interface = self._deployment.interface
        member = request.call(Member, interface, told, threaded=threaded)
        rows = None if interface.axis is None else interface.axis.rows(member.inputs)
        if rows is not None and rows.size <= self._batch.max_size:
            member.rows = rows
        return member

    def _idle(self) -> bool:
        """Whether there is a worker that has nothing to do."""
        session = self._deployment.running()
        if session is None:
            return not self._roster.flying
        return not (session.flight.sent or session.flight.backlog)

    def _quiet(self) -> bool:
        """Whether nobody else calls just now."""
        return self._roster.expected <= 1 and not self._roster.gathering and self._idle()

    def _join(self, member: Member, room_by_ns: int) -> None:
        if member.rows is None or self._quiet():
            self._send_alone(member, room_by_ns)
            return
        group = self._place_in(member, member.rows, room_by_ns)
        self._deployment.counters.add_copied_in(group.write(member))
        member.placed_ns = time.monotonic_ns()
        with self._lock:
            group.writers.discard(member)
            if group.state is GATHERING:
                self._await_company(group)
        if group.state is SEALED:
            self._send(group)

    def _await_company(self, group: Group) -> None:
        """Seal it if it is full or waits for nobody, or else see that it does not wait too long. Locked."""
        idle = self._idle()
        if group.count >= self._batch.max_size or (idle and self._roster.is_ripe(group)):
            self._seal(group)
        else:
            self._alarm.set(self._deployment.keeper, group.due_ns if idle else time.monotonic_ns() + LOOK_UP_NS)

    def _place_in(self, member: Member, rows: Rows, room_by_ns: int) -> Group:
        """A group that has room for it, with its place in it."""
        fresh: Group | None = None
        while True:
            full: Group | None = None
            with self._lock:
                self._check_open()
                group = self._roster.gathering.get(rows.key)
                if group is not None and group.state is not GATHERING:
                    group = None
                if group is not None and group.count + rows.size > self._batch.max_size:
                    full, group = group, None
                    self._seal(full)
                if group is None and fresh is not None:
                    group = self._roster.gathering[rows.key] = fresh
                if group is not None:
                    group.admit(member)
                    if member.deadline_ns:
                        self._hurry(group, member)
            if full is not None:
                self._send(full)
            if group is not None:
                return group
            fresh = self._open(rows, room_by_ns)

    def _open(self, rows: Rows, room_by_ns: int) -> Group:
        """A new group, with room for the most rows. Raises ``ArenaFull``, ``SpecError``."""
        owner, most = self._deployment.owner, self._batch.max_size
        roots: dict[str, Array] = {}
        for name, array in rows.columns.items():
            if array.dtype.kind not in TEXT_KINDS:
                dtype = array.dtype.newbyteorder("=")
                roots[name] = owner.new((most, *array.shape[1:]), dtype, name, room_by_ns)
        return Group(rows.key, roots, time.monotonic_ns() + self._delay_ns)

    def _hurry(self, group: Group, member: Member) -> None:
        """It may be kept waiting for company for half of the time that it has, and hears of its end. Locked."""
        now = time.monotonic_ns()
        group.due_ns = min(group.due_ns, now + (member.deadline_ns - now) // 2)
        self._alarm.set(self._deployment.keeper, member.deadline_ns)

    def _check_open(self) -> None:
        if self._closed:
            raise Closed(f"model {self._deployment.name!r} is closed; load it again")

    # ------------------------------------------------------------------ sending

    def kick(self) -> None:
        """Send what waits for no more callers, if there is a worker that has nothing to do."""
        while self._roster.gathering:
            with self._lock:
                for group in list(self._roster.gathering.values()):
                    self._await_company(group)
                    if group.state is SEALED:
                        break
                else:
                    return
            self._send(group)

    def _seal(self, group: Group) -> None:
        """Locked."""
        self._roster.seal(group)
        # RACE stranded batch: Ctrl-C may come before it is sent.
        self._alarm.set(self._deployment.keeper, time.monotonic_ns() + LOOK_UP_NS)

    def _send_alone(self, member: Member, room_by_ns: int) -> None:
        """Send a call as it is. What is wrong with it is raised here."""
        group = Group(None, {}, 0)
        with self._lock:
            self._check_open()
            group.admit(member)
            group.writers.clear()
            self._roster.set_aside(group)
        self._send(group, room_by_ns, raises=True)

    def _send(self, group: Group, room_by_ns: int = 0, *, raises: bool = False) -> None:
        """Have it run, once the last of its members has written. Twice is once."""
        try:
            with self._lock:
                if not self._roster.launch(group):
                    return
                deadline_ns, timeout = group.deadline()
            call = Call(deadline_ns, timeout, functools.partial(self._landed, group), threaded=True)
            call.shared = True
            first = next(iter(group.members))
            call.asked_ns, call.submitted_ns, call.thread = first.asked_ns, first.submitted_ns, first.thread
            self._second_chances.begin(call, group.items(), room_by_ns, group.follow)
        except Exception as error:  # the outcome of all of them, or raised to the only one
            self._roster.land(group)
            if raises:
                raise  # whoever joined takes itself out
            self._outcomes.decide(group, None, error)
            self._roster.dissolve(group)
        except BaseException:  # goes on to the caller: Ctrl-C, in the middle of what is others', too
            self._after_interrupt(group)
            raise

    def _after_interrupt(self, group: Group) -> None:
        """See that a batch, which Ctrl-C may have kept from being sent, is not lost for its other members."""
        with self._lock:
            if group not in self._roster.flying or (group.sent is not None and _is_on_its_way(*group.sent)):
                return
            if group.sent is None or group.sent[0].number < 0:  # nothing of it was written: the keeper sends it
                group.sent = None
                self._roster.set_aside(group)
                self._alarm.set(self._deployment.keeper, time.monotonic_ns())
                return
        self._roster.land(group)
        what = f"model {self._deployment.name!r}: Ctrl-C came while a batch was sent; call again"
        self._outcomes.decide(group, None, WorkerUnavailable(what))
        self._roster.dissolve(group)

    # ------------------------------------------------------------------ outcomes

    def _landed(self, group: Group, call: Call) -> None:
        """There is an answer, or none will come. On the dispatcher's thread, or that of second chances."""
        # RACE changed inputs: a lone call is tried again as it was sent. The arrays are its caller's again since then.
        if call.may_go_on and (group.is_lone or not call.begun):
            again = call.next_attempt(self._deployment.staffing.retries)
            if again is not None:
                self._second_chances.give(again, group.follow)
                return
        error, outputs = call.error, call.outputs
        call.error = call.outputs = None
        call.release()
        self._roster.land(group)
        try:
            self.kick()  # first: the worker waits for it
        finally:
            self._give_out(group, call, outputs, error)

    def _give_out(self, group: Group, call: Call, outputs: Any, error: BaseException | None) -> None:
        again = call.begun and not group.is_lone and self._deployment.staffing.retries
        if again and isinstance(error, WorkerCrashed):
            self._outcomes.run_alone(group, error, attempt=2)
        elif isinstance(error, ModelError) and self._batch.isolate_errors and len(group.wanted) > 1:
            self._outcomes.run_alone(group, error, attempt=1)
        else:
            self._outcomes.decide(group, outputs, error, call.marks, here=True)
        self._roster.dissolve(group)

    # ------------------------------------------------------------------ leaving

    def cancel(self, call: Call) -> bool:
        """Take back a call that is not sent yet, or whose whole batch nobody wants and no worker has begun; whether it
        is. One whose batch is on its way is computed with that; a model sees when nobody wants any of it.
        """
        return self._withdraw(call, dropped=False)

    def abandon(self, call: Call) -> None:
        """Its caller does not wait any more, and hears nothing of it."""
        self._withdraw(call, dropped=True)

    def _withdraw(self, call: Call, *, dropped: bool) -> bool:
        assert isinstance(call, Member)
        if self._deployment.is_copy:
            return False  # its lock may have been held by a thread that there is no copy of
        taken = self._departures.withdraw(call, dropped=dropped)
        if call.group is not None and call.group.state is SEALED:
            self._send(call.group)  # it was the last that was still writing
        return taken

    def has_begun(self, call: Call) -> bool:
        assert isinstance(call, Member)
        sent = call.sent or (call.group.sent if call.group is not None else None)
        return sent is not None and sent[1].has_begun(sent[0])

    def _look(self) -> None:
        """On the keeper's thread: a time may be over, or Ctrl-C has kept somebody from moving a group on."""
        with self._lock:
            self._alarm.rings()
        self._departures.expire()
        for group in self._roster.stranded():
            self._send(group)
        self.kick()
        with self._lock:
            due_ns = self._roster.next_due()
            if due_ns:
                self._alarm.set(self._deployment.keeper, due_ns)

    # ------------------------------------------------------------------ the end

    def close(self) -> None:
        """Send what waits, and take nothing more. Twice is once."""
        with self._lock:
            self._closed = True
            for group in list(self._roster.gathering.values()):
                self._seal(group)
            waiting = list(self._roster.sealed)
        for group in waiting:
            self._send(group)


def _is_on_its_way(call: Call, place: Place) -> bool:
    """Whether a call that was interrupted while it was sent is with a worker, or waits for one."""
    return call.carried or (isinstance(place, Session) and call.deliver is not None and place.flight.holds(call))
