"""When a dead worker is replaced: at once, after a pause, or not for now.

A worker that dies after it has answered is replaced at once. One that dies before it answered anything is followed by a
pause, which doubles each time: what cannot load would only keep the machine busy. And more than ``max_restarts``
crashes within ``window`` open the *circuit*: calls that no living worker can take fail at once, with the reason, until
a probe, started after ``cooldown``, is ready. As in Erlang's supervisors and in M. Nygard's "Release It!".

::

    closed ──tripped──▶ open ──cooled──▶ probing ──ready──▶ closed
                          ◀────tripped─────┘
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from isopod.ipc.errors import SpecError
from isopod.runtime.lifecycle import Machine, Table

CLOSED, OPEN, PROBING = "closed", "open", "probing"

TRANSITIONS: Table = {
    (CLOSED, "tripped"): OPEN,
    (OPEN, "cooled"): PROBING,
    (PROBING, "ready"): CLOSED,
    (PROBING, "tripped"): OPEN,
    # Others of its model may live through it, and come and go.
    (CLOSED, "ready"): CLOSED,
    (OPEN, "ready"): OPEN,
    (OPEN, "tripped"): OPEN,
}


@dataclass(frozen=True)
class Restart:
    """How the workers of a model are replaced when they die. Times in seconds.

    ``max_restarts`` crashes within ``window`` are borne, one more opens the circuit for ``cooldown``; None bears any
    number. ``backoff`` is the first pause after a worker that answered nothing; each further one doubles it, up to
    ``max_backoff``. Raises ``SpecError`` for negative or non-finite numbers. ::

        isopod.load("model.py:Net", restart=isopod.Restart(max_restarts=3, window=60))
    """

    max_restarts: int | None = 10
    window: float = 30.0
    backoff: float = 0.1
    max_backoff: float = 10.0
    cooldown: float = 10.0

    def __post_init__(self) -> None:
        times = {name: getattr(self, name) for name in ("window", "backoff", "max_backoff", "cooldown")}
        for name, seconds in times.items():
            if not 0 <= seconds < math.inf:
                raise SpecError(f"a restart policy cannot have a {name} of {seconds!r} s")
        if self.max_restarts is not None and self.max_restarts < 0:
            raise SpecError(f"a restart policy cannot have {self.max_restarts!r} restarts")


class Circuit:
    """The policy at work, for all workers of one version of a model. Its fleet holds a lock over it, and the clock."""

    def __init__(self, policy: Restart) -> None:
        self.policy = policy
        self.reason = ""  # why it is open
        self._machine = Machine(TRANSITIONS, CLOSED, "a circuit")
        self._crashes: deque[float] = deque()  # when, within the window
        self._barren = 0  # crashes in a row of workers that had answered nothing

    @property
    def state(self) -> str:
        return self._machine.state

    @property
    def closed(self) -> bool:
        return self.state == CLOSED

    def crashed(self, now: float, cause: str, *, answered: bool, counts: bool = True) -> float | None:
        """Take note of a death at ``now`` (seconds). Returns the pause before the next start; None: the circuit opened.

        ``counts`` is False where the blame is on a call that has killed a worker before.
        """
        self._barren = 0 if answered else self._barren + 1
        if counts:
            self._crashes.append(now)
        while self._crashes and self._crashes[0] <= now - self.policy.window:
            self._crashes.popleft()
        limit = self.policy.max_restarts
        if self.state == OPEN:
            return None
        if counts and (self.state == PROBING or (limit is not None and len(self._crashes) > limit)):
            self._machine.advance("tripped")
            self.reason = f"{len(self._crashes)} of its workers died within {self.policy.window:g} s, the last: {cause}"
            return None
        if not self._barren:
            return 0.0
        return min(self.policy.backoff * 2.0 ** min(self._barren - 1, 60), self.policy.max_backoff)

    def cooled(self) -> None:
        """It has been open for long enough: one worker may try."""
        if self.state == OPEN:
            self._machine.advance("cooled")

    def ready(self) -> None:
        """A worker has loaded. The crashes of the window are not forgotten: one more opens the circuit again."""
        self._machine.advance("ready")
