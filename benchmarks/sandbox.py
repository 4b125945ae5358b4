"""What a sandbox costs, and what a neighbour that takes all it can costs others.

*Cost*: the same model in each profile: how long its lock takes and how long until it is ready, and a call, back to
back, taking turns. *Neighbours*: the calls of one model, alone and beside a strict one that burns processors, fills
memory, logs, writes, or starts threads, processes or sessions. Its neighbour is undisturbed right before and
after, so that what else the machine does hits both alike. What is promised of it is ``MOST``; not of one that was given
all processors (``ON_ALL``), which shows what it is worth that a strict model leaves a core to others.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

import isopod
from benchmarks.effort import Effort
from benchmarks.measure import Contender, interleaved, timed
from benchmarks.progress import Progress
from benchmarks.results import Key, Results
from isopod.runtime.sandbox.machine import trial

NAME, CALLS, NEIGHBOURS = "sandbox", "sandbox calls", "sandbox neighbours"
PROFILES = {
    "none": isopod.Sandbox("none"),
    "limits": isopod.Sandbox("limits"),
    "strict": isopod.Sandbox("strict"),
    "strict, namespaces off": isopod.Sandbox("strict", namespaces="off"),
    "strict, with processes": isopod.Sandbox("strict", allow_subprocess=True),
}
LOCK, READY = "the lock itself", "until ready"
ALONE, BESIDE = "alone", "beside"
MOST = 2.0  # times its own median
ON_ALL = ", on all processors"
ABUSES: dict[str, dict[str, Any]] = {
    "burns, 4 threads": {"how": "burn", "size": 4},
    "burns, 32 threads": {"how": "burn", "size": 32},
    "logs": {"how": "log"},
    "fills 1 GiB of memory": {"how": "fill", "size": 1 << 30},
    "writes to its scratch folder": {"how": "write", "size": 1 << 24},
    "starts 100 threads, again and again": {"how": "threads", "size": 100},
    f"starts 100 threads, again and again{ON_ALL}": {"how": "threads", "size": 100},
    "starts processes, as many as it can": {"how": "processes"},
    "burns in 32 sessions": {"how": "sessions", "size": 32},
    f"burns in 32 sessions{ON_ALL}": {"how": "sessions", "size": 32},
}
_FOLDER = Path(__file__).resolve().parent
_ROUND, _ABUSE = 2.0, 1.5  # seconds, about
_BYTES = 65_536


def planned(effort: Effort) -> float:
    """Seconds that ``run`` will take, about."""
    return _ROUND * (effort.starts + 1) + effort.seconds + (_ABUSE + 1.0) * len(ABUSES) * _looks(effort)


def run(effort: Effort, results: Results, progress: Progress) -> None:
    _starts(effort, results, progress)
    _calls(effort, results, progress)
    _neighbours(effort, results, progress)


def _looks(effort: Effort) -> int:
    """At each abuse, far apart: what else the machine does in one of three does not decide its median."""
    return 2 * effort.passes - 1


def _possible() -> dict[str, isopod.Sandbox]:
    """Those that this machine can have."""
    return {name: box for name, box in PROFILES.items() if not box.allow_subprocess or _can_start_processes()}


@functools.cache
def _can_start_processes() -> bool:
    return trial(isopod.Sandbox("strict", allow_subprocess=True))[0]


def _starts(effort: Effort, results: Results, progress: Progress) -> None:
    for number in range(effort.starts + 1):
        progress.step(f"{NAME}, {number} of {effort.starts}", _ROUND)
        for profile, box in _possible().items():
            began = time.perf_counter_ns()
            with isopod.load(_FOLDER / "functions.py:first", sandbox=box) as model:
                ready = time.perf_counter_ns() - began
                lock = int(model.stats().start["lock"] * 1e9)
            if number:  # the first one warmed up
                results.add(Key(NAME, profile, "start", READY), [ready])
                results.add(Key(NAME, profile, "start", LOCK), [lock])


def _calls(effort: Effort, results: Results, progress: Progress) -> None:
    progress.step(CALLS, effort.seconds)
    with contextlib.ExitStack() as stack:
        contenders = []
        for profile, box in _possible().items():
            model = stack.enter_context(isopod.load(_FOLDER / "functions.py:first", sandbox=box))
            x = model.empty("x", _BYTES // 4)
            contenders.append(Contender(profile, lambda model=model, x=x: model(x=x)))  # type: ignore[misc]
        for profile, samples in interleaved(contenders, 1.0, effort.seconds).items():
            results.add(Key(CALLS, "unpinned", f"{_BYTES >> 10} KB", profile), samples)


def _neighbours(effort: Effort, results: Results, progress: Progress) -> None:
    box = isopod.Sandbox("strict", scratch=64 << 20)
    forking = isopod.Sandbox("strict", allow_subprocess=True, max_processes=64)
    log = logging.getLogger(
        "isopod.worker"
    )  # what the flood is made of is nobody's to read, and is taken in all the same
    log.addHandler(logging.NullHandler())
    log.propagate = False
    with isopod.load(_FOLDER / "functions.py:plus_one") as model:
        x = model.empty("x", _BYTES // 4)
        timed(lambda: model(x=x), 200)
        for name, abuse in [*ABUSES.items()] * _looks(effort):
            starts = abuse["how"] in ("processes", "sessions")
            if starts and not _can_start_processes():
                continue
            progress.step(f"{NEIGHBOURS}, one that {name}", _ABUSE + 1.0)
            cpus = os.sched_getaffinity(0) if name.endswith(ON_ALL) else None
            with isopod.load(_FOLDER / "abuser.py:abuse", sandbox=forking if starts else box, cpus=cpus) as abuser:
                alone = _for_a_while(model, x, 0.4)
                done = abuser.submit(seconds=_ABUSE, **abuse)
                time.sleep(0.2)  # until it is at it: there is nothing else to see of it
                beside = _for_a_while(model, x, _ABUSE - 0.4)
                done.result()
                alone += _for_a_while(model, x, 0.4)
            results.add(Key(NEIGHBOURS, "unpinned", name, ALONE), alone)
            results.add(Key(NEIGHBOURS, "unpinned", name, BESIDE), beside)


def _for_a_while(
    model: isopod.Model, x: np.ndarray[tuple[int, ...], np.dtype[np.float32]], seconds: float
) -> list[int]:
    """Paced calls: one that waits for nothing in between would compete for the processors itself."""
    until = time.monotonic() + seconds
    samples: list[int] = []
    while time.monotonic() < until:
        samples += timed(lambda: model(x=x), 1, 0.001)
    return samples
