"""One live worker and the calls that are with it.

A session owns the parent's ends of both mailboxes: it sends calls, takes in answers, and checks every number of them.
Who waits for what is ``flight``'s affair. The monitor thread calls the ``on_…`` methods, and is never kept waiting.
"""

from __future__ import annotations

import functools
import threading
import time
from typing import Any

from isopod.ipc import record as records
from isopod.ipc.errors import InternalError, IsopodError, ProtocolError
from isopod.ipc.protocol import Message
from isopod.ipc.transfer import ArenaOwner, Outbound
from isopod.runtime import deadlines
from isopod.runtime.blueprint import Blueprint
from isopod.runtime.calls import Call, first_of
from isopod.runtime.control import Control, checked_interface
from isopod.runtime.deaths import crash_error, ended_error, report_of, timeout_error
from isopod.runtime.flight import Flight
from isopod.runtime.history import History
from isopod.runtime.induction import Induction
from isopod.runtime.intake import Intake
from isopod.runtime.keeper import Keeper
from isopod.runtime.lifecycle import DRAINING, ENDED, READY, Lifecycle
from isopod.runtime.listener import Listener
from isopod.runtime.mailboxes import Mailboxes
from isopod.runtime.monitor import Watch
from isopod.runtime.observe import recording
from isopod.runtime.oom import Gauge
from isopod.runtime.process import APPLICATION_ENDED, CLOSED, FAREWELLS, GARBAGE, WorkerProcess
from isopod.runtime.report import CrashReport
from isopod.runtime.sandbox.report import SandboxReport
from isopod.runtime.scribe import Scribe
from isopod.runtime.stats import Counters

_SPURIOUS_LIMIT = 100_000  # rings without a record: a worker that only makes us busy


class Gone(Exception):
    """The session takes no calls any more; another one does."""


class Session:
    """The parent's side of one worker process, from its spawn to its death.

    ``owner`` is the model's arena for inputs, which outlives sessions, so arrays made before a crash still cross
    without a copy after it.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        process: WorkerProcess,
        owner: ArenaOwner,
        counters: Counters,
        history: History,
        scribe: Scribe,
        listener: Listener,
        keeper: Keeper,
        *,
        grace: float = deadlines.GRACE,
        max_calls: int | None = None,
        replica: int = 0,
    ) -> None:
        name = self.name = blueprint.order.name
        self.origin = blueprint.origin
        self.history = history
        self.replica = replica
        self.scribe = scribe
        self.grace = grace  # seconds
        self.process = process
        self.life = Lifecycle()
        strict = blueprint.sandbox.strict
        self.control = Control(process, self._on_message, owner.arena.owns, only_own=strict)
        self.report: CrashReport | None = None
        self.load_failure: tuple[str, Any] | None = None
        self.interface: dict[str, Any] = {}
        self.overdue = False  # it was ended because it was not ready in time
        self.crashed = False  # it died, and was not meant to
        self.blameless = False  # it was ended for a reason of the application's own
        self.poisoned = False  # it was killed by a call that had killed another one before
        self.distrusted = False  # it broke the data protocol: nothing that it wrote is looked at any more
        self.replaced = False  # others have taken its place
        self.berth = 0  # which of its model's sets of processors it has while it takes calls
        self.exited = threading.Event()
        self.answered = 0
        self.answered_ns = 0  # when the last answer was taken in
        self._memory = Gauge(process.pid)
        self._order = blueprint.order
        self._listener = listener
        self._wears_out_at = max_calls
        self._counters = counters
        self._arena = owner.arena
        self._mail = Mailboxes(protected=strict)
        self._borrowed, self.control.flush = self._mail.borrowed, self._mail.borrowed.flush
        self._outbound = Outbound(owner, self.control.index_of, counters.add_copied_in)
        expire = functools.partial(deadlines.expire, self)
        ring = self._mail.ring_ourselves
        self.flight = Flight(name, self._pump, expire, ring, self._withdraw, self._dispose, owner.spent)
        limit, uses = self._order.memory_limit, self.flight.uses
        self._intake = Intake(name, self._mail, self.control, counters, uses, memory_limit=limit, copies=strict)
        # It gets the calls and not us: a circle of references would keep a dead worker's descriptors open.
        self.watch = Watch(process, name, scribe, replica, functools.partial(first_of, self.flight.sent))
        self._induction = Induction(blueprint, process, self.control, keeper)
        self._heard = 0  # answers that were taken in, to the end
        self._turn_ns = 0  # when the worker sent the last of them, as it says

    @property
    def dead(self) -> bool:
        return self.life.state in ENDED  # for each answer: no detour by ``ended``

    @property
    def cause_of_death(self) -> str:
        return "" if self.report is None else self.report.cause

    @property
    def sandbox_report(self) -> SandboxReport | None:
        return self._induction.report

    # ------------------------------------------------------------------ on the monitor thread

    def on_control(self, data: bytes) -> None:
        try:
            self.control.on_data(data)
        except (BrokenPipeError, ConnectionResetError):
            return  # RACE late answer: it died before it heard us; the monitor tells of what, or ends it
        except (IsopodError, OSError) as error:
            self.process.kill(f"it broke the control protocol: {error}")

    def _on_message(self, message: Message) -> None:
        if message.name == "hello":
            self.life.advance("greeted")
            self._induction.greet(self._mail, self._arena, self.watch.log_level)
        elif message.name == "guarded":
            self.load_failure = self._induction.check(message.fields["done"])
        elif message.name == "ready":
            self.interface = checked_interface(message.fields)
            self.life.advance("loaded")
            self._listener.on_ready(self)
        elif message.name == "failed":
            self.load_failure = self._induction.checked_failure(message.fields)
            self.life.advance("drain")
        elif message.name == "grow":
            self._grow_outbox(message.fields["nbytes"])
        elif message.name == "log":
            self.watch.records.feed(message.fields)

    def _grow_outbox(self, nbytes: int) -> None:
        self._borrowed.eager = True  # it is short of memory: what is let go here should reach it at once
        self._borrowed.flush()
        self.control.grow_outbox(nbytes, self._order.memory_limit)

    def on_exit(self, status: int | None, peak_rss: int) -> None:
        memory = self._memory.finding(status, bool(self.process.end_reason), peak_rss, [*self.watch.stderr.tail])
        with self.flight.lock:
            self.report = report_of(self, status, peak_rss, memory)
            running = self.flight.running()
            # One that was told to end may do so in any way, but not with a call.
            meant = self.life.state == DRAINING and (running is None or status == 0)
            self.crashed = not meant and self.report.reason not in FAREWELLS
            self.poisoned = running is not None and running.attempt > 1 and self.has_begun(running)
        try:
            # Before any caller can see it: health, and who takes the next call, are up to date by then.
            self._listener.on_ended(self)
        finally:  # whatever that ran into: everybody who waits for this worker must hear of its death
            with self.flight.lock:
                self.life.advance("exited")
                self.flight.end()
            self.exited.set()
            self._listener.on_gone(self)

    def end_overdue_load(self) -> None:
        """Its load deadline has passed."""
        self.overdue = True
        self.process.kill("it was not ready within its load deadline")

    # ------------------------------------------------------------------ sending

    def begin(self, call: Call, items: Any, arena_deadline_ns: int) -> None:
        """Copy in what must be copied, and send. Raises ``SpecError``, ``ArenaFull``; ``Gone`` when it is dead."""
        try:
            call.place(self._outbound, items, arena_deadline_ns)
            if len(call.encode()) > self._mail.payload:
                self._spill(call, arena_deadline_ns)
        except ProtocolError as error:
            raise self._cut_off(error) from None
        except Exception:  # goes on to the caller, whose traceback keeps the call, and must not keep its memory
            call.release()
            raise
        self._post(call)

    def resend(self, call: Call, arena_deadline_ns: int) -> None:
        """Send what another worker did not live to answer. Its inputs lie in shared memory, so none is copied again."""
        try:
            del call.kept[len(call.tensors) :]  # a record that was spilled
            call.tensors, call.kept = self._outbound.place_again(call.tensors, call.kept, arena_deadline_ns)
            if len(call.encode()) > self._mail.payload:
                self._spill(call, arena_deadline_ns)
        except ProtocolError as error:
            raise self._cut_off(error) from None
        self._post(call)

    def _spill(self, call: Call, arena_deadline_ns: int) -> None:
        """Put its record, which is too long for a slot, into a block."""
        item, array = self._outbound.spill(call.record, arena_deadline_ns)
        call.kept.append(array)
        call.encode(item)

    def _cut_off(self, error: ProtocolError) -> Gone:
        """A segment could not be handed over: the worker is dead, or about to be."""
        self.process.kill(str(error))
        self.exited.wait()
        return Gone()

    def _post(self, call: Call) -> None:
        flight = self.flight
        try:
            with flight.lock:
                if self.life.state != READY:
                    raise Gone
                if call.done:  # RACE unsent: it was abandoned while it waited for room
                    call.release()
                    return
                if len(flight.sent) < self._mail.credits:
                    self._send(call)
                else:
                    flight.backlog.append(call)
                if call.deliver is not None:
                    flight.attend(call)
        except Gone:
            raise
        except BaseException as error:  # goes on to the caller: no thread to be had, or Ctrl-C in mid-sentence
            if not isinstance(error, Exception):
                self.give_up("Ctrl-C came while a call was sent", blameless=True)
            self.flight.abandon(call)
            raise

    def _send(self, call: Call) -> None:
        self.flight.sent[call.id] = call
        call.sent_ns = time.monotonic_ns()
        call.number = self._mail.send(call.record)

    # ------------------------------------------------------------------ ending calls early

    def _withdraw(self, call: Call) -> bool:
        """Tell the worker that nobody wants a call that was sent; whether that was before it began it. Locked."""
        call.marked = True
        marks = self._mail.cancellations
        marks.mark(call.number, call.id)
        withdrawn = not self.has_begun(call)
        marks.decide(call.number, call.id, withdrawn)
        return withdrawn

    def cancel(self, call: Call) -> bool:
        """Take back a call that the worker has not begun; whether it is."""
        return self.flight.cancel(call)

    def has_begun(self, call: Call) -> bool:
        """Whether the worker says so."""
        return -1 < call.number < self._mail.progress.begun

    def is_attentive(self, call: Call) -> bool:
        """Whether the model looks at times whether this call is still wanted: so it may stop by itself."""
        return self._mail.progress.attentive == call.id

    def answer_waits(self) -> bool:
        """Whether there seems to be an answer that nobody has taken in yet."""
        return self._mail.receiver.ready()

    # ------------------------------------------------------------------ leading

    def _pump(self, deadline_ns: int) -> bool:
        """Take in one answer; False if there was none by the deadline. Only the leader calls it."""
        if self.life.state in ENDED:
            self._settle_all()
            return True
        receiver = self._mail.receiver
        try:
            data = receiver.receive(deadline_ns)
            if data is None:
                if receiver.empty_rings > _SPURIOUS_LIMIT:
                    raise ProtocolError("it rings without saying anything")
                return False
            self._take_answer(data)
        except KeyboardInterrupt:  # goes on to the caller; an answer that was taken, and lost, was perhaps another's
            if receiver.taken != self._heard:
                self.give_up("Ctrl-C came while its answer was taken in", blameless=True)
            raise
        except Exception as error:  # goes to every caller, as why the worker was ended: they must not wait for ever
            self.distrusted = True
            what = error if isinstance(error, ProtocolError) else repr(error)
            self.process.kill(f"it broke the data protocol: {what}")
            self.exited.wait()
            self._settle_all()
        return True

    def _take_answer(self, data: bytes) -> None:
        heard_ns = time.monotonic_ns()
        flight = self.flight
        # Without the lock: a call comes to stand there before it is sent. Whatever is raised here, it is still among
        # those that are told of the worker's death.
        call, kind, error = self._intake.take(data, flight.sent)
        with flight.lock:
            if flight.backlog and not self.dead:
                self._send(flight.backlog.popleft())
            if kind != records.CANCELLED:  # that one was no call at all
                self._count(call, error, heard_ns)
            flight.settle(call, error, answered=True)
            del flight.sent[call.id]  # last, as ever: if Ctrl-C comes before, it is told of the worker's death
        self._heard += 1

    def reclaim(self) -> None:
        """See whether the worker returned anything. Called by the arena when it is short of memory, in any thread."""
        if self.dead:
            return
        try:
            self._intake.reclaim()
        except ProtocolError as error:
            self.process.kill(f"it broke the data protocol: {error}")

    def _count(self, call: Call, error: BaseException | None, heard_ns: int) -> None:
        self.answered += 1
        if self.answered == self._wears_out_at:
            self._listener.on_worn(self)
        self.answered_ns = taken_ns = time.monotonic_ns()
        marks = call.mark(self._turn_ns, heard_ns, taken_ns)
        _, _, _, self._turn_ns, copied = call.stamps
        self._counters.count(marks, copied, error is not None, call.shared)
        if recording.active is not None:
            recording.active.answered(self, call, error)

    def _settle_all(self) -> None:
        """The worker is dead: take in what it still answered, then tell everybody else."""
        while not self.distrusted:
            try:
                data = self._mail.receiver.drain()
                if data is None:
                    break
                self._take_answer(data)
            except Exception:  # goes nowhere: garbage of the dying; its calls are told below
                break
        report = self.report
        if report is None:
            raise InternalError("a worker is dead without a report")

        begun = self._mail.progress.begun

        def error_of(call: Call) -> IsopodError:
            call.begun = -1 < call.number < begun
            if recording.active is not None:
                recording.active.lost(self, call)
            if call.late:
                return timeout_error(self.name, call.timeout, "a call", report)
            if self.replaced and not call.begun and report.reason not in (CLOSED, GARBAGE, APPLICATION_ENDED):
                return crash_error(report)  # which is not seen: it goes on to those that have taken this one's place
            return ended_error(report)

        self.flight.settle_all(error_of)

    # ------------------------------------------------------------------ the end

    def drain(self, *, replaced: bool = False) -> None:
        """Let it finish what it has, and end. Where it is ``replaced``, what it does not begin goes on to others."""
        self.replaced = self.replaced or replaced
        with self.flight.lock:
            if self.dead:
                return
            self.life.advance("drain")
        try:
            self.control.send("drain")
        except (OSError, ProtocolError):
            self.process.kill(CLOSED)

    def give_up(self, reason: str, *, blameless: bool = False) -> None:
        """End it now, and see it gone. ``blameless``: nothing that it or its model did is the reason."""
        self.blameless = blameless
        self.process.kill(reason)
        self.exited.wait()

    def let_go_after_fork(self) -> None:
        """In a forked copy of the application: what we have borrowed is the original's to give back."""
        self._borrowed.forked = True
        self.flight.let_go_after_fork()

    def _dispose(self) -> None:
        """Give descriptors back, and let go of ourselves: the flight is over. Arrays keep their own mappings."""
        self._intake.close()
        self._induction.close()
        self.control.close()
        self._mail.close()
        for segment in self.control.outbox():
            segment.close()
