"""What is done when the deadline of a call passes.

A call that waits in line is taken back: the worker will not run it, and goes on with others. One that runs is given its
*grace* if its model has looked whether it is still wanted: it may stop by itself, and the worker goes on. Nothing but
the end of its process stops any other, so its worker is killed at once, and so is one whose grace is over.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from isopod.runtime.calls import Call
from isopod.runtime.deaths import timeout_error

if TYPE_CHECKING:
    from isopod.runtime.session import Session

GRACE = 1.0  # seconds


def expire(session: Session, call: Call) -> None:
    """A call is due: at its deadline, or at the end of its grace. Called by whoever waits for it, in any thread."""
    flight = session.flight
    with flight.lock:
        running = _end_waiting(session, call)
        if running is None or not 0 < running.due_ns <= time.monotonic_ns():
            return
        if _has_grace(session, running):
            if running is not call:
                flight.attend(running)  # whoever should wait for it may be busy elsewhere, as with ``map``
            return
    reason = f"a call passed its deadline of {running.timeout or 0:g} s"
    if running.due_ns > running.deadline_ns:
        reason += f" and its grace of {session.grace:g} s"
    try:
        running.late = True  # whoever leads tells its caller so, when the worker is dead
        session.watch.ask_for_stacks()
        with flight.lock:
            if not session.dead and (running.id not in flight.sent or session.answer_waits()):
                running.late = False
                return  # RACE late deadline: it answered while we asked where it hangs
        session.give_up(reason)
    except BaseException:  # Ctrl-C goes on to the caller; what is late is looked after by nobody else
        if running.late:
            session.process.kill(reason)
        raise


def move(session: Session, call: Call, deadline_ns: int) -> None:
    """Give a call that was sent another deadline, as ``time.monotonic_ns()`` or 0 for never. It may be over already."""
    flight = session.flight
    with flight.lock:
        if flight.holds(call) and not (call.done or call.late):
            call.deadline_ns = call.due_ns = deadline_ns
            flight.attend(call)


def _end_waiting(session: Session, call: Call) -> Call | None:
    """The call that runs, if that is overdue, too; ``call`` is told so if it is another one. Locked."""
    flight = session.flight
    if not flight.holds(call):
        return None  # RACE late deadline: it has just been settled
    running = flight.running()
    if running is call:
        return call
    if not flight.take_back(call):
        return call  # RACE stuck in line: it began just now, and the answers to those before it are not taken in yet
    flight.settle(call, timeout_error(session.name, call.timeout, "waiting in line for the worker", None))
    flight.see_off(call)
    return running


def _has_grace(session: Session, call: Call) -> bool:
    """Whether to wait a little longer for the call that runs. Locked."""
    end = call.deadline_ns + int(session.grace * 1e9)
    if end <= time.monotonic_ns() or not session.is_attentive(call):
        return False
    call.due_ns = end
    return True
