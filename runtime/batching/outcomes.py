"""What each caller of a batch gets of the answer to it, and how it is told.

An output is divided by rows, without a copy; an error is everybody's, unless each call is to be run again by itself.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from typing import Any

from isopod.runtime.batching.group import Group, Member, share
from isopod.runtime.batching.rows import row_faults
from isopod.runtime.calls import Call
from isopod.runtime.deaths import left_behind_error
from isopod.runtime.deployment import Deployment
from isopod.runtime.flight import deliver
from isopod.runtime.observe.phases import FINISHED, SENT
from isopod.runtime.second_chances import SecondChances, own_copy


class Outcomes:
    """``lock`` guards the members' ``done``: whoever sets that tells the caller. Safe for many threads."""

    def __init__(self, deployment: Deployment, second_chances: SecondChances, lock: threading.Lock) -> None:
        self._deployment = deployment
        self._second_chances = second_chances
        self._lock = lock

    def decide(
        self,
        group: Group,
        outputs: dict[str, Any] | None,
        error: BaseException | None,
        marks: Sequence[int] | None = None,
        *,
        here: bool = False,
    ) -> None:
        """Give each of its members what it gets of this, and tell them; futures ``here``, or in a thread of their own,
        since that runs callbacks of users.
        """
        with self._lock:
            members = [member for member in group.members if not member.done]
            for member in members:
                member.done = True
        axis = self._deployment.interface.axis
        if outputs is not None and group.key is not None and axis is not None:
            faults = row_faults(outputs, group.count)
            error = axis.error(faults) if faults else None
        finished = 0 if marks is None else marks[FINISHED]
        errors = 0
        for member in members:
            try:
                if error is not None or outputs is None:
                    member.error = error if len(members) == 1 or error is None else own_copy(error)
                else:
                    part = outputs if group.key is None else share(outputs, member)
                    member.error = None if member.verdict is None else member.verdict(part)
                    member.outputs = part if member.error is None else None
            except Exception as fault:  # its outcome: whoever waits must hear of it
                member.error = fault
            if 0 < member.deadline_ns <= finished and not isinstance(member.error, TimeoutError):
                member.outputs, member.error = None, left_behind_error(self._deployment.name, member.timeout)
            errors += member.error is not None
        if marks is not None:
            for member in members:  # each has come by itself, and the rest of the way is that of the batch
                placed_ns = member.placed_ns or marks[SENT - 1]
                member.marks = [member.asked_ns or member.submitted_ns, member.submitted_ns, placed_ns, *marks[SENT:]]
            everyone = [member.marks for member in members if member.marks is not None]
            self._deployment.counters.count_all(everyone, len(members), errors)
        self.tell(members, here=here)

    def tell(self, members: Sequence[Member], *, here: bool) -> None:
        """Wake those who wait first: what the callbacks of the others do may take long."""
        for member in members:
            if member.deliver is None and member.wake is not None:
                member.wake.release()
        others = [member for member in members if member.deliver is not None and not member.threaded]
        futures = [member for member in members if member.deliver is not None and member.threaded]
        if here or not futures:
            _deliver_all([*others, *futures])
            return
        _deliver_all(others)
        name = f"isopod-told-{self._deployment.name}"
        try:
            threading.Thread(target=_deliver_all, args=(futures,), name=name, daemon=True).start()
        except RuntimeError:  # no thread to be had
            _deliver_all(futures)

    def run_alone(self, group: Group, error: BaseException, attempt: int) -> None:
        """Run each of its calls again by itself, if anybody wants it; else the ``error`` is its outcome. Their inputs
        are where they were, so nothing is copied.
        """
        wanted = group.wanted
        for member in wanted:
            call = Call(member.deadline_ns, member.timeout, functools.partial(self._landed_alone, member), True)
            call.submitted_ns, call.asked_ns, call.verdict = member.submitted_ns, member.asked_ns, member.verdict
            call.thread = member.thread
            call.attempt = call.sends = attempt
            try:
                self._deployment.place(call, group.items_of(member), 0)
            except Exception as failure:  # its outcome
                call.error = failure
                self._landed_alone(member, call)
                continue
            self._second_chances.give(call, member.follow)
        self._end([member for member in group.members if member not in wanted], error)

    def _end(self, members: Sequence[Member], error: BaseException) -> None:
        with self._lock:
            members = [member for member in members if not member.done]
            for member in members:
                member.done, member.error = True, own_copy(error)
        self.tell(members, here=True)

    def _landed_alone(self, member: Member, call: Call) -> None:
        again = call.next_attempt(self._deployment.staffing.retries)
        if again is not None:
            self._second_chances.give(again, member.follow)
            return
        with self._lock:
            told = [] if member.done else [member]
            member.done = True
        member.error, member.outputs, member.marks = call.error, call.outputs, call.marks
        member.sent = call.error = call.outputs = None
        self.tell(told, here=True)


def _deliver_all(members: Sequence[Member]) -> None:
    for member in members:
        deliver(member)
