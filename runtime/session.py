"""One live worker and the calls that are with it.

A session owns the parent's ends of both mailboxes: it sends calls, takes in answers, and checks every number of them.
Who waits for what is ``flight``'s affair. The monitor thread calls the ``on_…`` methods, and is never kept waiting.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError
from typing import Any

from isopod.ipc import record as records
from isopod.ipc.errors import InternalError, IsopodError, ProtocolError, SpecError
from isopod.ipc.lent import Lent
from isopod.ipc.protocol import Message
from isopod.ipc.transfer import ArenaOwner, Inbound, Outbound, values_in_order
from isopod.runtime import deadlines
from isopod.runtime.calls import Call
from isopod.runtime.control import Control, LoadOrder, checked_interface
from isopod.runtime.deaths import arena_error, ended_error, model_error, overrun_error, report_of, timeout_error
from isopod.runtime.flight import Flight
from isopod.runtime.lifecycle import Lifecycle
from isopod.runtime.logs import Scribe
from isopod.runtime.mailboxes import Mailboxes
from isopod.runtime.monitor import Watch
from isopod.runtime.process import WorkerProcess
from isopod.runtime.report import CrashReport
from isopod.runtime.stats import Counters

_SPURIOUS_LIMIT = 100_000  # rings without a record: a worker that only makes us busy


class Gone(Exception):
    """The session ended before a call reached it; the model starts another one."""


class Session:
    """The parent's side of one worker process, from its spawn to its death.

    ``owner`` is the model's arena for inputs, which outlives sessions, so arrays made before a crash still cross
    without a copy after it.
    """

    def __init__(
        self,
        name: str,
        process: WorkerProcess,
        owner: ArenaOwner,
        order: LoadOrder,
        counters: Counters,
        scribe: Scribe,
        grace: float = deadlines.GRACE,
    ) -> None:
        self.name = name
        self.grace = grace  # seconds
        self.process = process
        self.life = Lifecycle()
        self.control = Control(process, self._on_message)
        self.watch = Watch(process, name, scribe)
        self.report: CrashReport | None = None
        self.load_failure: tuple[str, Any] | None = None
        self.interface: dict[str, Any] = {}
        self.settled = threading.Event()  # ready, failed to load, or dead
        self.exited = threading.Event()
        self.answered = 0
        self._order = order
        self._counters = counters
        self._arena = owner.arena
        self._lent = Lent(self._in_flight)
        self._mail = Mailboxes()
        self._borrowed = self._mail.borrowed
        self._outbound = Outbound(owner, self.control.index_of, counters.add_copied_in)
        self._inbound = Inbound(self.control.segment, self.control.is_ours, self._borrowed, counters.add_copied_out)
        self.flight = Flight(name, self._pump, self._expire, self._mail.ring_ourselves, self._withdraw, self._dispose)
        self._heard = 0  # answers that were taken in, to the end

    @property
    def dead(self) -> bool:
        return self.life.ended

    # ------------------------------------------------------------------ on the monitor thread

    def on_control(self, data: bytes) -> None:
        try:
            self.control.on_data(data)
        except (IsopodError, OSError) as error:
            self.process.kill(f"it broke the control protocol: {error}")

    def _on_message(self, message: Message) -> None:
        if message.name == "hello":
            self.life.advance("greeted")
            self.control.attach(self._mail.descriptors, [home.segment for home in self._arena.segments], self._order)
        elif message.name == "ready":
            self.interface = checked_interface(message.fields)
            self.life.advance("loaded")
            self.settled.set()
        elif message.name == "failed":
            self.load_failure = (message.fields["culprit"], message.fields["error"])
            self.life.advance("drain")
        elif message.name == "grow":
            self._grow_outbox(message.fields["nbytes"])

    def _grow_outbox(self, nbytes: int) -> None:
        self._borrowed.eager = True  # it is short of memory: what is let go here should reach it at once
        self._borrowed.flush()
        self.control.grow_outbox(nbytes, self._order.memory_limit)

    def on_exit(self, status: int | None, peak_rss: int) -> None:
        with self.flight.lock:
            self.report = report_of(self, status, peak_rss)
            self.life.advance("exited")
            self.flight.end()
        self.exited.set()
        self.settled.set()

    # ------------------------------------------------------------------ sending

    def begin(self, call: Call, items: Any, arena_deadline_ns: int) -> None:
        """Copy in what must be copied, and send. Raises ``SpecError``, ``ArenaFull``; ``Gone`` when it is dead."""
        outbound = self._outbound
        try:
            call.tensors, call.kept, extra = outbound.place_all(items, arena_deadline_ns)
            stamps = (call.deadline_ns, call.submitted_ns, 0, 0)
            call.record = records.encode(records.CALL, call.id, stamps, call.tensors, extra)
            if len(call.record) > self._mail.payload:
                item, array = outbound.spill(call.record, arena_deadline_ns)
                call.kept.append(array)
                call.record = records.encode(records.CALL, call.id, stamps, [item], flags=records.SPILLED)
        except ProtocolError as error:
            # Only a segment that could not be handed over gets here: the worker is dead, or about to be.
            self.process.kill(str(error))
            self.exited.wait()
            raise Gone from None
        except Exception:  # goes on to the caller, whose traceback keeps the call, and must not keep its memory
            call.release()
            raise
        try:
            with self.flight.lock:
                if self.dead:
                    raise Gone
                if call.done:  # RACE unsent: it was abandoned while it waited for room
                    call.release()
                    return
                if len(self.flight.sent) < self._mail.credits:
                    self._send(call)
                else:
                    self.flight.backlog.append(call)
                if call.deliver is not None:
                    self.flight.attend(call)
        except Gone:
            raise
        except BaseException as error:  # goes on to the caller: no thread to be had, or Ctrl-C in mid-sentence
            if not isinstance(error, Exception):
                self.give_up("Ctrl-C came while a call was sent")
            self.flight.abandon(call)
            raise

    def _send(self, call: Call) -> None:
        self.flight.sent[call.id] = call
        call.sent_ns = time.monotonic_ns()
        call.number = self._mail.send(call.record)

    # ------------------------------------------------------------------ ending calls early

    def _expire(self, call: Call) -> None:
        deadlines.expire(self, call)

    def _withdraw(self, call: Call) -> bool:
        """Tell the worker that nobody wants a call that was sent; whether that was before it began it. Locked."""
        call.marked = True
        marks = self._mail.cancellations
        marks.mark(call.number, call.id)
        withdrawn = not self.has_begun(call)
        marks.decide(call.number, call.id, withdrawn)
        return withdrawn

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
        if self.dead:
            self._settle_all()
            return True
        try:
            data = self._mail.receiver.receive(deadline_ns)
            if data is None:
                if self._mail.receiver.empty_rings > _SPURIOUS_LIMIT:
                    raise ProtocolError("it rings without saying anything")
                return False
            self._take_answer(data)
        except KeyboardInterrupt:  # goes on to the caller; an answer that was taken, and lost, was perhaps another's
            if self._mail.receiver.taken != self._heard:
                self.give_up("Ctrl-C came while its answer was taken in")
            raise
        except Exception as error:  # goes to every caller, as why the worker was ended: they must not wait for ever
            what = error if isinstance(error, ProtocolError) else repr(error)
            self.process.kill(f"it broke the data protocol: {what}")
            self.exited.wait()
            self._settle_all()
        return True

    def _take_answer(self, data: bytes) -> None:
        answer = records.decode(data)
        if answer.spilled:
            if len(answer.tensors) != 1:
                raise ProtocolError("a spilled record is not one tensor")
            answer = records.decode(self._inbound.spilled(answer.tensors[0]))
        flight = self.flight
        with flight.lock:
            call = flight.sent.get(answer.call)
        if call is None or answer.kind == records.CALL:
            raise ProtocolError(f"it answered call {answer.call}, which it does not have")
        # Whatever is raised here, the call is still among those that are told of the worker's death.
        error = self._outcome(call, answer)
        with flight.lock:
            del flight.sent[call.id]
            if flight.backlog and not self.dead:
                self._send(flight.backlog.popleft())
            if answer.kind != records.CANCELLED:  # that one was no call at all
                self._count(call, error)
            flight.settle(call, error)
        self._heard += 1

    def _outcome(self, call: Call, answer: records.Record) -> Exception | None:
        """Make the call's outputs, or the error that it ends with. Raises ``ProtocolError``."""
        self._note_held(call, answer.plain.get("held"))
        self._mail.reclaim(self._lent)
        if self._lent.early:
            self._check_early(call)
        call.stamps = answer.stamps
        if answer.kind in (records.EXPIRED, records.CANCELLED):
            return self._refusal(call, answer.kind)
        error: IsopodError | None = None
        try:
            if answer.kind == records.RESULT:
                arrays = [(item.name, self._inbound.array(item, call, self._lent)) for item in answer.tensors]
                call.outputs = values_in_order(arrays, answer.plain)
                if not self._counters.output_names:
                    self._counters.output_names = tuple(call.outputs)
            else:
                error = self._error_of(answer)
        except SpecError as unknown_dtype:
            error = unknown_dtype
        finished = answer.stamps[2]
        if not 0 < call.deadline_ns <= finished:
            return error
        call.outputs = None  # what comes too late is dropped, or a caller would get what the model gave up half-way
        return overrun_error(self.name, call.timeout, (finished - call.deadline_ns) / 1e9, error)

    def _refusal(self, call: Call, kind: int) -> Exception:
        """Why the worker did not run a call. Raises ``ProtocolError`` where it had no reason."""
        overdue = 0 < call.deadline_ns <= time.monotonic_ns()
        if not overdue and not (kind == records.CANCELLED and call.marked):
            raise ProtocolError(f"it refused call {call.id}, which was wanted")
        if kind == records.CANCELLED and not overdue:
            return CancelledError()  # RACE undecided mark: Ctrl-C came before it was said whether the call runs
        return timeout_error(self.name, call.timeout, "waiting in line for the worker", None)

    def _error_of(self, answer: records.Record) -> IsopodError:
        failure = answer.plain.get("error")
        if answer.kind == records.FULL:
            return arena_error(self.name, failure)
        return model_error(self.name, failure, "in a call")

    def _note_held(self, call: Call, held: Any) -> None:
        if held is None:
            return
        if type(held) is not list or len(set(map(repr, held))) != len(held):
            raise ProtocolError("its list of held inputs has the wrong form")
        for number in held:
            if type(number) is not int or not 0 <= number < len(call.tensors):
                raise ProtocolError("it holds an input that it was not given")
            self._lent.add(call.tensors[number], call.kept[number])

    def _in_flight(self, key: tuple[int, int]) -> int:
        """How often a block is with calls that are not answered yet."""
        with self.flight.lock:
            return sum(_uses(call, key) for call in self.flight.sent.values())

    def _check_early(self, call: Call) -> None:
        """What came back before this answer must have been declared in it, or belong to another call."""
        for item in call.tensors:
            key = (item.segment, item.block)
            if self._lent.early.get(key, 0) > self._in_flight(key) - _uses(call, key):
                raise ProtocolError(f"block {key[1]} of segment {key[0]} came back twice")

    def reclaim(self) -> None:
        """See whether the worker returned anything. Called by the arena when it is short of memory, in any thread."""
        if self.dead:
            return
        try:
            self._mail.reclaim(self._lent)
        except ProtocolError as error:
            self.process.kill(f"it broke the data protocol: {error}")

    def _count(self, call: Call, error: BaseException | None) -> None:
        counters = self._counters
        self.answered += 1
        counters.calls += 1
        counters.errors += error is not None
        _, started, finished, copied = call.stamps
        if copied:
            counters.add_copied_out(copied)
        counters.times.append((time.monotonic_ns() - call.submitted_ns, max(0, finished - started)))

    def _settle_all(self) -> None:
        """The worker is dead: take in what it still answered, then tell everybody else."""
        while True:
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

        def error_of(call: Call) -> IsopodError:
            return timeout_error(self.name, call.timeout, "a call", report) if call.late else ended_error(report)

        self.flight.settle_all(error_of)

    # ------------------------------------------------------------------ the end

    def drain(self) -> None:
        """Let it finish what it has, and end."""
        with self.flight.lock:
            if self.dead:
                return
            self.life.advance("drain")
        try:
            self.control.send("drain")
        except (OSError, ProtocolError):
            self.process.kill("the model was closed")

    def give_up(self, reason: str) -> None:
        """End it now, and see it gone."""
        self.process.kill(reason)
        self.exited.wait()

    def let_go_after_fork(self) -> None:
        """In a forked copy of the application: what we have open and borrowed is the original's."""
        self._borrowed.forked = True
        self.process.let_go()

    def _dispose(self) -> None:
        """Give descriptors back, and let go of ourselves: the flight is over. Arrays keep their own mappings."""
        self._lent.clear()
        self.control.close()
        self._mail.close()
        for segment in self.control.outbox():
            segment.close()


def _uses(call: Call, key: tuple[int, int]) -> int:
    return sum((item.segment, item.block) == key for item in call.tensors)
