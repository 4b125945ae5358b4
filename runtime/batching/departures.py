"""Members of a batch that do not stay to its end: they are cancelled, nobody waits for them, or their time is over.

One that leaves before its batch is sent takes its rows with it. Later on the batch is computed as it is: it is taken
back, or its model sees that it should stop, when the last of them has left; and it is due when the last of them is.
"""

from __future__ import annotations

import time
from concurrent.futures import CancelledError

from isopod.runtime import deadlines
from isopod.runtime.batching.group import SENT, Group, Member
from isopod.runtime.batching.outcomes import Outcomes
from isopod.runtime.batching.roster import Roster
from isopod.runtime.calls import Call
from isopod.runtime.deaths import left_behind_error, timeout_error
from isopod.runtime.futures import Place
from isopod.runtime.session import Session


class Departures:
    """Safe for many threads."""

    def __init__(self, model: str, roster: Roster, outcomes: Outcomes) -> None:
        self._model = model
        self._roster = roster
        self._outcomes = outcomes

    def withdraw(self, member: Member, *, dropped: bool) -> bool:
        """Its caller does not want it any more; whether it never runs because of that. ``dropped``: and is not told of
        what comes of it.
        """
        with self._roster.lock:
            if member.done:
                return member.cancelled
            member.unwanted = True
            group, sent = member.group, member.sent
            if sent is None and (group is None or group.state is not SENT):
                if group is not None:
                    self._roster.take_out(member, group)
                member.done = member.cancelled = True
                return True
            member.done = dropped
        if sent is not None:
            return self._take_back_alone(member, *sent)
        return group is not None and group.sent is not None and self._take_back(member, group, *group.sent)

    def _take_back_alone(self, member: Member, call: Call, place: Place) -> bool:
        """The same for one that is run again by itself."""
        taken = place.cancel(call)
        if taken:
            with self._roster.lock:
                member.done = member.cancelled = True
        return taken

    def _take_back(self, member: Member, group: Group, call: Call, place: Place) -> bool:
        """The same for one whose batch is sent: with all the others, if they do not want it either."""
        with self._roster.lock:
            last = not group.wanted
            deadline_ns, timeout = group.deadline()
        if deadline_ns and deadline_ns != call.deadline_ns and isinstance(place, Session):
            call.timeout = timeout
            deadlines.move(place, call, deadline_ns)
        if not last or not place.cancel(call):
            return False
        self._roster.land(group)
        with self._roster.lock:
            # Those who came too early to be told that they are cancelled.
            others = [one for one in group.members if not one.done and one is not member]
            for one in (member, *others):
                one.done = one.cancelled = True
        for one in others:
            one.error = CancelledError()
        self._outcomes.tell(others, here=False)
        self._roster.dissolve(group)
        return True

    def expire(self) -> None:
        """Tell those whose time is over."""
        now = time.monotonic_ns()
        overdue: list[Member] = []
        with self._roster.lock:
            for group in self._roster.groups():
                for member in [one for one in group.members if _is_overdue(one, group, now)]:
                    overdue.append(member)
                    member.done = True
                    if group.state is SENT:
                        member.error = left_behind_error(self._model, member.timeout)
                    else:
                        self._roster.take_out(member, group)
                        what = "waiting in line for the worker"
                        member.error = timeout_error(self._model, member.timeout, what, None)
        self._outcomes.tell(overdue, here=False)


def _is_overdue(member: Member, group: Group, now: int) -> bool:
    """Whether its own time is over. Who has as much time as the whole batch hears of that, and who is just writing into
    it must not be disturbed: its rows would be somebody else's.
    """
    if member.done or not 0 < member.deadline_ns <= now or member in group.writers:
        return False
    if group.state is not SENT:
        return True
    latest, _ = group.deadline()
    return not latest or member.deadline_ns < latest
