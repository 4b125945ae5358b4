"""Every group that is not answered yet, by its state: the one place where it is written down what is to become of it.

::

    gathering ──seal──▶ sealed ──launch──▶ flying ──land──▶
                          ▲──────set aside────┘
"""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable

from isopod.runtime.batching.group import GATHERING, SEALED, SENT, Group, Member

LOOK_UP_NS = 100_000_000  # what is not moved on is looked at this often, so that nothing is missed for long


class Roster:
    """``lock`` guards all of it, and its groups; methods marked *locked* want it held.

    RACE stranded batch: each step begins with where the group is to be found afterwards, and ends with where it is not
    to be found any more, so that Ctrl-C in between leaves it in one place too many and not in none.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.gathering: dict[Hashable, Group] = {}
        self.sealed: dict[Group, None] = {}
        self.flying: set[Group] = set()
        self.expected = 0  # how many callers were in the last batch

    def is_ripe(self, group: Group) -> bool:
        """Whether as many callers have come as are expected, or that has taken long enough. Locked."""
        return len(group.members) >= self.expected or time.monotonic_ns() >= group.due_ns

    def seal(self, group: Group) -> None:
        """Nobody joins it any more. Locked."""
        self.set_aside(group)
        self.expected = len(group.members)
        self._forget_gathering(group)

    def _forget_gathering(self, group: Group) -> None:
        if self.gathering.get(group.key) is group:
            del self.gathering[group.key]

    def set_aside(self, group: Group) -> None:
        """It is to be sent. Locked."""
        self.sealed[group] = None
        group.state = SEALED
        self.flying.discard(group)

    def launch(self, group: Group) -> bool:
        """It is sent now, if nobody writes into it any more; whether it is. Only one of several gets a yes. Locked."""
        if group.state is not SEALED or group.writers:
            return False
        self.flying.add(group)
        group.state = SENT
        self.sealed.pop(group, None)
        self._forget_gathering(group)
        if not group.members:  # all of them have left
            self.flying.discard(group)
            return False
        return True

    def land(self, group: Group) -> None:
        """It has its answer, or is taken back: workers are free for others."""
        with self.lock:
            self.flying.discard(group)

    def dissolve(self, group: Group) -> None:
        """All of its members have their outcomes."""
        with self.lock:
            group.release()

    def take_out(self, member: Member, group: Group) -> None:
        """The rows of one that is not sent yet are not sent. Locked."""
        group.remove(member)
        if not group.members and group.state is GATHERING:
            self._forget_gathering(group)

    def stranded(self) -> list[Group]:
        """Those that were to be sent, and that nobody has sent."""
        with self.lock:
            return [group for group in self.sealed if not group.writers]

    def groups(self) -> list[Group]:
        """All of them. Locked."""
        return [*self.gathering.values(), *self.sealed, *self.flying]

    def next_due(self) -> int:
        """When somebody has to look again, as ``time.monotonic_ns()``; 0 for never. Locked."""
        now = time.monotonic_ns()
        members = [member for group in self.groups() for member in group.members if not member.done]
        dues = [one.deadline_ns if one.deadline_ns > now else now + LOOK_UP_NS for one in members if one.deadline_ns]
        return min([*dues, now + LOOK_UP_NS] if self.sealed else dues, default=0)
