"""The calls of several callers in one block of shared memory: where each one's rows are, and whose outputs are whose.

A group is *gathering* while callers may still write their rows into it, *sealed* when nobody may join any more, and
*sent* once the last of them has written and it is on its way as one call. ``Batcher`` moves it on, and its lock guards
all of it but the rows themselves: each member writes only its own, and nobody else touches them before that is done.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import numpy as np

from isopod.runtime.batching.rows import Array, Rows
from isopod.runtime.calls import Call
from isopod.runtime.futures import Place
from isopod.runtime.outputs import Outputs

GATHERING, SEALED, SENT = "gathering", "sealed", "sent"


class Member(Call):
    """One caller's call, in a group. ``done`` once its outcome is decided; whoever decides it tells the caller, and
    nobody else does.

    ``unwanted``: its caller does not wait for it any more. ``sent`` is where it is when it is run again by itself.
    """

    unwanted = False
    rows: Rows | None = None
    start = 0  # its first row in the group, where it was written
    at = 0  # where it is sent, and answered
    sent: tuple[Call, Place] | None = None

    inputs: Mapping[str, Any]  # until its rows are written, or it is sent alone: then they are its caller's again
    group: Group | None = None

    def __init__(self, deadline_ns: int, timeout: float | None, deliver: Callable[[Call], None] | None, threaded: bool):
        super().__init__(deadline_ns, timeout, deliver, threaded)
        if deliver is None:
            self.wake = threading.Lock()
            self.wake.acquire()

    @property
    def count(self) -> int:
        return self.rows.size if self.rows is not None else 0

    def follow(self, call: Call, place: Place) -> None:
        self.sent = (call, place)

    def next_attempt(self, retries: int) -> None:
        """It has had all of them."""


class Group:
    """``roots`` are arrays in shared memory with room for the rows of all columns but text; none for a lone call that
    is sent as it is. ``due_ns`` is when an idle worker waits no longer for more of them.
    """

    def __init__(self, key: Hashable | None, roots: Mapping[str, Array], due_ns: int) -> None:
        self.key = key
        self.state = GATHERING
        self.members: dict[Member, None] = {}  # in the order of their rows
        self.writers: set[Member] = set()  # have a place, and have not written their rows yet
        self.count = 0  # rows that are given out; once it is sent, those that are sent
        self.due_ns = due_ns
        self.sent: tuple[Call, Place] | None = None
        self._roots = dict(roots)
        self._parts: dict[str, dict[Member, Array]] = {}  # columns of text, which are joined when they are packed
        self._holes = False
        self._written: dict[str, Array] | None = None  # all columns but text, before holes were closed

    @property
    def is_lone(self) -> bool:
        """Whether it is one call that is sent as it is."""
        return self.key is None

    def admit(self, member: Member) -> None:
        """Give it the next rows."""
        member.group, member.start, member.at = self, self.count, self.count
        self.members[member] = None
        self.writers.add(member)
        self.count += member.count

    def write(self, member: Member) -> int:
        """Copy its rows to their place, the only copy there is; how many bytes."""
        if member.rows is None:
            return 0
        start, end = member.start, member.start + member.count
        copied = 0
        for name, array in member.rows.columns.items():
            root = self._roots.get(name)
            if root is None:
                self._parts.setdefault(name, {})[member] = array.copy()
            else:
                root[start:end] = array
                copied += array.nbytes
        member.rows, member.inputs = member.rows._replace(columns={}), {}  # the caller's arrays are the caller's again
        return copied

    def remove(self, member: Member) -> None:
        """Its rows are not to be sent."""
        self.writers.discard(member)
        if member in self.members:
            del self.members[member]
            self._holes = True

    @property
    def wanted(self) -> list[Member]:
        """Those whose callers still wait for the model."""
        return [member for member in self.members if not (member.done or member.unwanted)]

    def deadline(self) -> tuple[int, float | None]:
        """When nobody waits any longer, as ``time.monotonic_ns()`` or 0 for never, and the timeout that this was.

        One whose own time is over counts: what made it wait may have to be ended when nobody else waits for it.
        """
        last: Member | None = None
        for member in self.members:
            if member.unwanted:
                continue
            if not member.deadline_ns:
                return 0, None
            if last is None or member.deadline_ns > last.deadline_ns:
                last = member
        return (0, None) if last is None else (last.deadline_ns, last.timeout)

    def items(self) -> Iterable[tuple[str, Any]]:
        """The inputs of all of them, as one call's."""
        first = next(iter(self.members))
        if self.is_lone:
            return first.inputs.items()
        if self._holes:
            self._close_up()
        return self._items(0, self.count, self.members)

    def items_of(self, member: Member) -> Iterable[tuple[str, Any]]:
        """The inputs of one of them, which lie where they were written."""
        return self._items(member.at, member.at + member.count, [member])

    def _items(self, start: int, end: int, members: Iterable[Member]) -> list[tuple[str, Any]]:
        first = next(iter(self.members))
        assert first.rows is not None
        values: list[tuple[str, Any]] = []
        for name in first.rows.names:
            if name in self._roots:
                values.append((name, self._roots[name][start:end]))
            elif name in self._parts:
                parts = self._parts[name]
                values.append((name, np.concatenate([parts[member] for member in members])))
            else:
                values.append((name, first.rows.constants[name]))
        return values

    def _close_up(self) -> None:
        """Move rows to where others were taken out.

        RACE half a move: Ctrl-C may come anywhere in here, and then it is done again. So they are taken from a copy of
        how they were written: in place, those that were moved once would be moved over one another.
        """
        if self._written is None:
            self._written = {name: root[: self.count].copy() for name, root in self._roots.items()}
        at = 0
        for member in self.members:
            for name, root in self._roots.items():
                root[at : at + member.count] = self._written[name][member.start : member.start + member.count]
            member.at = at
            at += member.count
        self.count = at

    def follow(self, call: Call, place: Place) -> None:
        """It is with this worker now, or waits for one."""
        self.sent = (call, place)

    def release(self) -> None:
        """Let the rows go, whose memory can be used again, and the members, which know it: no garbage in a circle."""
        self._roots.clear()
        self._parts.clear()
        self._written = None
        self.members.clear()
        self.sent = None


def share(outputs: Mapping[str, Any], member: Member) -> Outputs:
    """One caller's part of the outputs: views of its rows, which keep the whole block for as long as they live."""
    start, end = member.at, member.at + member.count
    return Outputs(
        {name: value[start:end] if isinstance(value, np.ndarray) else value for name, value in outputs.items()}
    )
