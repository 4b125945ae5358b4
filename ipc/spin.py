"""Whether to look for the other side's next record for a moment, before parking.

Spinning for about as long as parking costs is never worse than twice the best choice, and much better than it while
answers come quickly on another core. With a slow model, a paced caller, busy cores, or both sides on one core it only
burns time. Which of them it is changes: where the scheduler puts both sides, and what the model does. So it is learned,
and learned anew in some dozens of waits.
"""

from __future__ import annotations

import contextlib
import os

# What a spin may take: two wake-ups of an idle virtual processor (6 µs on one core, 50 to 100 µs across two), and what
# the other side's Python does in between. A shorter one was tried, and never saw its answer on a slow machine.
SPIN_NS = 200_000
_ROUND, _TRIALS = 64, 2


class Spin:
    """Learns which of the two makes this side wait less.

    (Counting how often a spin finds its record does not tell: on one core the kernel takes the spinner off in mid-spin,
    runs the other side, and the spin "succeeds".) So both ways are timed: 2 of every 64 waits try the other way, and
    parking wins a tie. Where spins end sooner than any core wakes up, none does: to sleep among them costs those calls
    the most, and after it the scheduler may have both sides on one core.
    """

    __slots__ = ("_averages", "_best", "_count", "_was_long", "_was_quick", "budget_ns", "spins")

    def __init__(self, budget_ns: int = SPIN_NS, other: int = 0) -> None:
        """``other`` is the process that is waited for: where both have but one core, nothing is to be gained."""
        cores = os.sched_getaffinity(0)
        with contextlib.suppress(OSError):  # it is gone, or out of sight
            cores |= os.sched_getaffinity(other)
        self.budget_ns = budget_ns if len(cores) > 1 else 0
        self.spins = self.budget_ns > 0
        self._averages = [4.0 * budget_ns, 0.0]  # ns waited after parking at once, and after spinning first
        self._best = self.spins
        self._was_long = self._was_quick = False
        self._count = 0

    def learn(self, waited_ns: int) -> None:
        """How long it took this time; decides ``spins`` for the next one."""
        if not self.budget_ns:
            return
        if waited_ns >= 4 * self.budget_ns:
            # One long wait is a pause between bursts, and tells nothing of the waits within them; several are a slow
            # model, or a paced caller. They must not drown what many short ones have told.
            if not self._was_long:
                self._was_long = True
                return
            waited_ns = 4 * self.budget_ns
        else:
            self._was_long = False
        averages, mode, best = self._averages, self.spins, self._best
        average = averages[mode]
        if mode != best and 2 * waited_ns < average:
            averages[mode] = waited_ns  # what was learned of this way is of another time
        else:
            # None counts for much more than those before: the machine was busy, or a pause was short.
            averages[mode] += (min(waited_ns, max(4 * average, self.budget_ns / 4)) - average) / 8
        # What has been quick may be slower by half: where it is about as slow as that, it would change all the time.
        quick = averages[1] < self.budget_ns * (0.375 if self._was_quick else 0.25)
        count = self._count + 1
        if count >= _ROUND or (mode != best and waited_ns > 2 * averages[best]):
            count = 0  # also where one trial tells enough
        elif self._was_quick and not quick:
            count = _ROUND - _TRIALS  # something has changed: try the other way at once
        self._count, self._was_quick = count, quick
        if count >= _ROUND - _TRIALS and not (best and quick):
            self.spins = not best
        else:
            self.spins = self._best = averages[1] < 0.9 * averages[0]
