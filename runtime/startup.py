"""Where the time of a worker's start went, in parts that add up to the whole.

A worker takes its own times, on the clock that it shares with us (``CLOCK_MONOTONIC``), and says them when it is ready;
what goes before its first line, and the whole, are measured here.
"""

from __future__ import annotations

from collections.abc import Mapping

# In the order in which they come.
OURS = ("queue", "exec")
THEIRS = ("import", "hello", "attach", "lock", "activate", "numpy", "module", "construct")
PARTS = (*OURS, *THEIRS, "other")


def parts(said: Mapping[str, float], *, ordered: float, spawned: float, total: float) -> dict[str, float]:
    """Seconds by part, and ``total``. ``ordered`` and ``spawned`` are moments, as is ``began`` of what a worker said.

    Of times that do not fit into the whole nothing is believed: then all of it is ``other``.
    """
    began = said.get("began", spawned)
    taken = {"queue": spawned - ordered, "exec": began - spawned, **{name: said.get(name, 0.0) for name in THEIRS}}
    other = total - sum(taken.values())
    if not all(seconds >= 0 for seconds in (*taken.values(), other)):  # not a number is not, either
        taken, other = dict.fromkeys(taken, 0.0), total
    return {**taken, "other": other, "total": total}
