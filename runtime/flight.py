"""The calls that are with one worker, and who waits for them: leader and followers.

Whoever *leads* takes in answers and settles everybody's calls. A lone caller leads itself, and waits on the doorbell
with nobody in between; with several, the others follow: each sleeps on a lock of its own until it is settled, or until
it is promoted because the leader has what it came for. Calls that nobody waits for (futures, tasks) are led by a
dispatcher thread, which exists only once there was such a call, and which alone runs users' callbacks, never while it
leads: so a callback may call the model again.

What must hold: while a call is unsettled, somebody leads or is about to. So a death has only to be marked and rung.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from isopod.runtime.calls import Call

_logger = logging.getLogger("isopod")


class Flight:
    """Calls between "sent" and "settled". ``lock`` guards all of it; methods marked *locked* want it held.

    ``pump(deadline_ns)`` takes in one answer and is called only by the leader; ``expire(call)`` acts on a passed
    deadline; ``ring()`` makes a parked leader look up; ``withdraw(call)`` tells the worker, locked, that nobody wants a
    call that was sent, and says whether that came before it began; ``idle()`` is told once, locked, when the worker is
    dead, nobody leads and nothing is unsettled; ``spent(arrays)`` is given the inputs of a call that is answered.
    """

    def __init__(
        self,
        name: str,
        pump: Callable[[int], bool],
        expire: Callable[[Call], None],
        ring: Callable[[], None],
        withdraw: Callable[[Call], bool],
        idle: Callable[[], None],
        spent: Callable[[Sequence[Any]], None],
    ) -> None:
        self.lock = threading.Lock()
        self.sent: dict[int, Call] = {}  # in the order in which the worker takes them: the first one runs
        self.backlog: deque[Call] = deque()  # more than there are slots
        self.over = False  # the worker is dead
        self._leader: object = None  # the call whose caller leads, or a token of ours
        self._name = name
        self._pump, self._expire, self._ring, self._withdraw, self._idle = pump, expire, ring, withdraw, idle
        self._spent = spent
        self._followers: deque[Call] = deque()
        self._wanted = threading.Condition(self.lock)  # the dispatcher is needed
        self._unattended: dict[int, Call] = {}
        self._deliveries: deque[Call] = deque()
        self._dispatcher: threading.Thread | None = None

    # ------------------------------------------------------------------ settling

    def settle(self, call: Call, error: BaseException | None, *, answered: bool = False) -> None:
        """The call has its outcome; the first one counts. ``answered``: by its worker. Locked."""
        was_done = call.done
        if not was_done:
            call.error = error
            call.done = True
        elif answered:
            call.outputs = None  # abandoned, or late: nobody looks at it any more
        if answered:
            # RACE spent inputs: once it is done. Else, if Ctrl-C came now, it would go on to another worker with inputs
            # that other calls are copied over. And before anybody is told, who finds the memory free then.
            self._spent(call.kept)
        # What is sent and not answered has its answer yet to come, and until then the worker may read the inputs.
        if answered or (call.id not in self.sent and (call.error is None or not call.may_go_on)):
            call.release()
        # RACE lost answer: Ctrl-C may have come anywhere in here before, and then whoever asked is not told yet.
        if call.deliver is None:
            # Promoted in the moment in which its deadline passed: its lock was released by that. RACE lost lead, too.
            if call.wake is not None and self._leader is not call and call.wake.locked():
                call.wake.release()
        elif not call.told and call.threaded:
            if not (was_done and call in self._deliveries):
                self._deliveries.append(call)
            self._wanted.notify()
        elif not call.told:
            call.deliver(call)
            call.told = True
        self._unattended.pop(call.id, None)  # last: until it is told, somebody must look after it

    def settle_all(self, error_of: Callable[[Call], BaseException]) -> None:
        """The worker is dead, and what it still said has been heard."""
        with self.lock:
            # Each leaves only once it is settled, so whoever leads on after an interrupt tells the others.
            calls = [*self.sent.values(), *self.backlog]
            for call in calls:
                self.settle(call, error_of(call))
            self.sent.clear()
            self.backlog.clear()
            for call in calls:
                if not call.may_go_on:
                    call.release()

    def uses(self, key: tuple[int, int]) -> int:
        """How often a block is with calls that are not answered yet."""
        with self.lock:
            return sum(call.uses(key) for call in self.sent.values())

    def holds(self, call: Call) -> bool:
        """Whether a call is with this worker, sent or about to be. Locked."""
        return call.id in self.sent or call in self.backlog

    def unsettled(self) -> bool:
        """Whether anybody still waits, or is about to. Locked."""
        return bool(self.backlog or self._unattended) or any(not call.done for call in self.sent.values())

    def running(self) -> Call | None:
        """The call that the worker is at, or comes to next: answers arrive in the order of what was sent. Locked."""
        return next((call for call in self.sent.values() if not call.withdrawn), None)

    def end(self) -> None:
        """The worker is dead: whoever leads, now or in a moment, settles every call. Locked."""
        self.over = True
        if self._leader is not None or self.unsettled():
            self._ring()
        else:
            self._disband()
        self._wanted.notify_all()

    def abandon(self, call: Call) -> None:
        """Nobody wants this call's answer any more. It never runs if it has not begun; else its answer is dropped, and
        the model can see that. Also for one that is not sent yet: then it never will be.
        """
        with self.lock:
            self._hand_over(call)
            if call in self._followers:
                self._followers.remove(call)
            call.deliver = None
            call.outputs = call.error = None
            if not call.done:
                self.take_back(call)
                call.done = True
            if call.id not in self.sent:
                call.release()
            self.see_off(call)

    def cancel(self, call: Call) -> bool:
        """Take back a call that the worker has not begun; whether it is. If not, the model can see that it should stop,
        and whatever it answers counts.
        """
        with self.lock:
            if not call.done and (self.take_back(call) or not self.holds(call)):
                call.done = call.cancelled = True  # RACE unsent: also one that is just about to be sent
            elif not call.begun and call.may_go_on and not call.told:
                # RACE late cancel: its worker died before it began it, and the dispatcher is yet to give it to another.
                call.cancelled = True
                call.release()
            if call.cancelled:  # each time: Ctrl-C may have come before the next line
                call.deliver = None
                self.see_off(call)
            return call.cancelled

    def take_back(self, call: Call) -> bool:
        """Have the worker not begin it, or else know that nobody wants it; whether it will never run. Locked."""
        if call.id in self.sent:
            call.withdrawn = call.withdrawn or self._withdraw(call)
        elif call in self.backlog:
            call.withdrawn = True  # first: Ctrl-C may come before the next line, and then it is done again
            self.backlog.remove(call)
            call.release()
        if call.withdrawn:
            call.due_ns = 0
        return call.withdrawn

    def see_off(self, call: Call) -> None:
        """One that nobody waits for is looked after until its answer comes, if it does. Locked.

        Until then the worker may read its inputs, whose memory is to be free at once afterwards; and it may hang in it,
        which its deadline ends.
        """
        if call.id in self.sent and not self.over:
            try:
                self.attend(call)
            except RuntimeError:  # no thread to be had: whoever calls next takes the answer in
                self._unattended.pop(call.id, None)
        else:
            self._unattended.pop(call.id, None)
        self._come_to_rest()

    def finish(self) -> None:
        """The worker is dead: settle what was sent and nobody waits for, so that its session can be put away."""
        token = object()
        with self.lock:
            if self._leader is not None or not self.unsettled():
                return
            self._leader = token
        try:
            self._pump(0)
        finally:
            self._retire(token)

    def let_go_after_fork(self) -> None:
        """In a forked copy of the application: no call is with us. What ends one there would end it in the original."""
        self.lock = threading.Lock()  # it may have been held by a thread that there is no copy of
        self._wanted = threading.Condition(self.lock)
        self._ring, self._idle, self._leader = _nothing, _nothing, None
        for call in (*self.sent.values(), *self.backlog):
            call.done = True
        for calls in (self.sent, self.backlog, self._unattended, self._followers, self._deliveries):
            calls.clear()
        self._disband()

    # ------------------------------------------------------------------ callers that wait

    def wait(self, call: Call) -> None:
        """Until the call is settled. Whatever is raised meanwhile (Ctrl-C) abandons it."""
        try:
            with self.lock:
                leads = self._leader is None
                if leads:
                    self._leader = call
                elif not call.done:
                    self._line_up(call)
            if leads:
                self._lead_for(call)
            else:
                self._follow(call)
        except BaseException:  # it goes on to the caller; the call must not stay behind
            self.abandon(call)
            raise

    def _line_up(self, call: Call) -> None:
        """Behind the leader. Locked."""
        call.wake = threading.Lock()
        call.wake.acquire()
        self._followers.append(call)

    def _lead_for(self, call: Call) -> None:
        try:
            while not call.done:
                if not self._pump(call.due_ns) and _remaining(call) == 0.0:
                    self._expire(call)
        finally:
            with self.lock:
                self._hand_over(call)

    def _follow(self, call: Call) -> None:
        while True:
            with self.lock:
                promoted = self._leader is call
                if call.done and not promoted:
                    return
            if promoted:
                # Also when the answer is there already: the lead must not end with a caller who walks away.
                self._lead_for(call)
                return
            if not call.wake.acquire(timeout=_remaining(call)):  # type: ignore[union-attr]
                self._expire(call)

    def _retire(self, leader: object) -> None:
        with self.lock:
            self._hand_over(leader)

    def _hand_over(self, leader: object) -> None:
        """Stop leading, if it does lead; the next one who still waits leads on. Locked.

        RACE lost lead: an interrupt may strike anywhere in here. Then the caller does it again, from ``abandon``; so
        who leads is written in one place, and nothing is forgotten before that is changed. The next one is woken
        first: who leads already would be woken by nobody, and who is woken too early goes back to sleep.
        """
        if self._leader is not leader:
            return
        while self._followers:
            follower = self._followers[0]
            if follower is not leader and follower.wake is not None:
                if follower.wake.locked():  # also if it has its answer: RACE lost answer
                    follower.wake.release()
                if not follower.done:
                    self._leader = follower
                    del self._followers[0]
                    return
            del self._followers[0]
        self._leader = None
        if self._unattended or self._deliveries or self.over:
            self._come_to_rest()

    def _come_to_rest(self) -> None:
        """Where nobody leads, tell those whose business it is then. Locked."""
        if self._leader is not None:
            return
        if self._unattended or self._deliveries or self.over:
            self._wanted.notify()
        if self.over and not self.unsettled():
            self._disband()

    def _disband(self) -> None:
        """Nothing will ever be in flight again. Locked.

        The session is let go here, or it would be garbage in a cycle, and its memory would wait for the collector. What
        a late deadline or a second ``finish`` still calls does nothing.
        """
        idle = self._idle
        self._pump, self._expire, self._idle, self._withdraw = _nothing, _nothing, _nothing, _is_withdrawn
        idle()

    # ------------------------------------------------------------------ calls that nobody waits for

    def attend(self, call: Call) -> None:
        """Have the dispatcher look after a call. Locked."""
        self._unattended[call.id] = call
        if self._dispatcher is None:
            dispatcher = threading.Thread(target=self._dispatch, name=f"isopod-calls-{self._name}", daemon=True)
            dispatcher.start()  # may fail: then the next call tries again
            self._dispatcher = dispatcher
        self._wanted.notify()
        if call.due_ns and self._leader is not None:
            self._ring()  # the dispatcher may be parked beyond this deadline

    def join(self, timeout: float) -> None:
        """After the worker's death: wait for the dispatcher to deliver the last call, unless this is the dispatcher.

        It may be in a callback that waits for this very thread, so not for ever.
        """
        dispatcher = self._dispatcher
        if dispatcher is not None and dispatcher is not threading.current_thread():
            dispatcher.join(timeout)

    def _dispatch(self) -> None:
        while True:
            with self.lock:
                if not self._await_work():
                    return
                delivery = self._deliveries.popleft() if self._deliveries else None
                if delivery is not None:
                    delivery.told = True
                lead = delivery is None and bool(self._unattended) and self._leader is None
                if lead:
                    self._leader = self
            if delivery is not None:
                deliver(delivery)
                del delivery  # or its outputs would live until the next one
                continue
            if lead:
                self._lead_unattended()
            self._expire_unattended()

    def _await_work(self) -> bool:
        """Until there is something to deliver, to lead or to expire; False when it is all over. Locked."""
        while not (self._deliveries or (self._unattended and self._leader is None)):
            if self.over and not self._unattended:
                return False
            due = self._next_deadline()
            if not self._wanted.wait(max(0.0, (due - time.monotonic_ns()) / 1e9) if due else None):
                return True
        return True

    def _lead_unattended(self) -> None:
        try:
            while self._unattended and not self._deliveries:
                if not self._pump(self._next_deadline()):
                    return
        finally:
            self._retire(self)

    def _expire_unattended(self) -> None:
        now = time.monotonic_ns()
        for call in list(self._unattended.values()):
            if call.due_ns and call.due_ns <= now and not call.late:
                self._expire(call)

    def _next_deadline(self) -> int:
        """When the next unattended call is due, as ``time.monotonic_ns()``; 0: never."""
        calls = list(self._unattended.values())
        return min((call.due_ns for call in calls if call.due_ns and not call.late), default=0)


def deliver(call: Call) -> None:
    """Tell whoever asked for it; that runs callbacks of users."""
    try:
        if call.deliver is not None:
            call.deliver(call)
    except BaseException:  # goes to the log: a callback that calls sys.exit must not end it for all other calls
        # As text: a handler may keep the record, and with a traceback the outputs.
        _logger.error("a callback of a future raised\n%s", traceback.format_exc())


def _nothing(*_: object) -> Any:
    """What a flight does when it is over: there is no answer to wait for, either."""
    return True


def _is_withdrawn(call: Call) -> bool:
    return call.withdrawn


def _remaining(call: Call) -> float:
    """Seconds until the call is due, in the form of ``Lock.acquire``: -1 for no deadline, or one acted upon already."""
    if not call.due_ns or call.late:
        return -1.0
    return max(0.0, (call.due_ns - time.monotonic_ns()) / 1e9)
