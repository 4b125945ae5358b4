"""One live worker and the calls that are with it.

A session owns the parent's ends of both mailboxes: it sends calls, takes in answers, and checks every number of them.
Who waits for what is ``flight``'s affair. The monitor thread calls the ``on_…`` methods, and is never kept waiting.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from isopod.ipc import record as records
from isopod.ipc.errors import InternalError, IsopodError, ProtocolError, SpecError
from isopod.ipc.lent import Lent
from isopod.ipc.protocol import Message
from isopod.ipc.transfer import ArenaOwner, Inbound, Outbound, values_in_order
from isopod.runtime.calls import Call
from isopod.runtime.control import Control, LoadOrder, checked_interface
from isopod.runtime.deaths import arena_error, ended_error, model_error, report_of, timeout_error
from isopod.runtime.flight import Flight
from isopod.runtime.history import History
from isopod.runtime.lifecycle import CRASHED, Lifecycle
from isopod.runtime.logs import Scribe
from isopod.runtime.mailboxes import Mailboxes
from isopod.runtime.monitor import Watch
from isopod.runtime.oom import Gauge
from isopod.runtime.process import CLOSED, FAREWELLS, WorkerProcess
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
        history: History,
    ) -> None:
        self.name = name
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
        self.answered_ns = 0  # when the last answer was taken in
        self.history = history
        self.replica = 0
        self._scribe = scribe
        self._memory = Gauge(process.pid)
        self._order = order
        self._counters = counters
        self._arena = owner.arena
        self._lent = Lent(self._in_flight)
        self._mail = Mailboxes()
        self._borrowed = self._mail.borrowed
        self._outbound = Outbound(owner, self.control.index_of, counters.add_copied_in)
        self._inbound = Inbound(self.control.segment, self.control.is_ours, self._borrowed, counters.add_copied_out)
        self.flight = Flight(name, self._pump, self._expire, self._mail.ring_ourselves, self._dispose)
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
        memory = self._memory.finding(status, bool(self.process.end_reason), peak_rss, [*self.watch.stderr.tail])
        with self.flight.lock:
            self.report = report = report_of(self, status, peak_rss, memory)
            crashed = self.life.advance("exited") == CRASHED and report.reason not in FAREWELLS
            self.flight.end()
        self.exited.set()
        self.settled.set()
        if crashed:
            self.history.note(report, self._scribe)

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
            call.deadline_ns = 0
            self.flight.abandon(call)
            raise

    def _send(self, call: Call) -> None:
        self.flight.sent[call.id] = call
        call.sent_ns = time.monotonic_ns()
        call.number = self._mail.send(call.record)

    def _expire(self, call: Call) -> None:
        """Its deadline passed. If it is the one that runs, the worker is ended: nothing else stops native code."""
        flight = self.flight
        error = timeout_error(self.name, call.timeout, "waiting in line for the worker", None)
        with flight.lock:
            first = next(iter(flight.sent.values()), None)
            if first is not call:
                if call.id not in flight.sent and call not in flight.backlog:
                    return  # RACE late deadline: it has just been settled
                if call in flight.backlog:
                    flight.backlog.remove(call)
                flight.settle(call, error)
            # RACE stuck in line: one that was told so, and began in that very moment, is nobody's to end but ours.
            if first is None or not 0 < first.deadline_ns <= time.monotonic_ns():
                return
            first.late = True  # whoever leads tells its caller so, when the worker is dead
        try:
            self.watch.ask_for_stacks()
        except BaseException:  # Ctrl-C goes on to the caller; the deadline has passed all the same
            self.process.kill(f"a call passed its deadline of {first.timeout or 0:g} s")
            raise
        with flight.lock:
            if not self.dead and (first.id not in flight.sent or self._mail.receiver.ready()):
                first.late = False
                return  # RACE late deadline: it answered while we asked where it hangs
        self.process.kill(f"a call passed its deadline of {first.timeout or 0:g} s")
        self.exited.wait()

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
            self._count(call, error)
            flight.settle(call, error)
        self._heard += 1

    def _outcome(self, call: Call, answer: records.Record) -> IsopodError | None:
        """Make the call's outputs, or the error that it ends with. Raises ``ProtocolError``."""
        self._note_held(call, answer.plain.get("held"))
        self._mail.reclaim(self._lent)
        if self._lent.early:
            self._check_early(call)
        call.stamps = answer.stamps
        try:
            if answer.kind == records.RESULT:
                arrays = [(item.name, self._inbound.array(item, call, self._lent)) for item in answer.tensors]
                call.outputs = values_in_order(arrays, answer.plain)
                if not self._counters.output_names:
                    self._counters.output_names = tuple(call.outputs)
                return None
            return self._error_of(call, answer)
        except SpecError as unknown_dtype:
            return unknown_dtype

    def _error_of(self, call: Call, answer: records.Record) -> IsopodError:
        failure = answer.plain.get("error")
        if answer.kind == records.EXPIRED:
            return timeout_error(self.name, call.timeout, "waiting in line for the worker", None)
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
        self.answered_ns = time.monotonic_ns()
        counters.times.append((self.answered_ns - call.submitted_ns, max(0, finished - started)))

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
            self.process.kill(CLOSED)

    def give_up(self, reason: str) -> None:
        """End it now, and see it gone."""
        self.process.kill(reason)
        self.exited.wait()

    def let_go_after_fork(self) -> None:
        """In a forked copy of the application: what we have borrowed is the original's to give back."""
        self._borrowed.forked = True

    def _dispose(self) -> None:
        """Give descriptors back, and let go of ourselves: the flight is over. Arrays keep their own mappings."""
        self._lent.clear()
        self.control.close()
        self._mail.close()
        for segment in self.control.outbox():
            segment.close()


def _uses(call: Call, key: tuple[int, int]) -> int:
    return sum((item.segment, item.block) == key for item in call.tensors)
