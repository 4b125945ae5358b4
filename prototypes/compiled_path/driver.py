"""One caller, pure or compiled, with a worker of its own: ``measure`` starts several and lets them call in turn.

Each line on its standard input is ``KIND CALLS``, and is answered with the nanoseconds of each call as JSON; ``count``
sets callgrind's marks between the calls instead, ``bytecodes`` counts those of each side by folder. Ends when its
input does.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(1, str(HERE.parent.parent))

import numpy as np  # noqa: E402
import put  # noqa: E402
from subject import EXTENSION, MARKS, PUT, Bytecodes  # noqa: E402

from benchmarks.placement import pin  # noqa: E402
from benchmarks.quick.subject import _do_without_pidfd  # noqa: E402

KINDS = ("1 KB", "100 tensors")
WARM, COUNTED = 40, 30


def main(here: int, there: int, caller: str, worker: str) -> None:
    """``caller`` and ``worker`` are the extension's path where that side is compiled, empty where it is pure."""
    import isopod

    everywhere = os.sched_getaffinity(0)
    if here == there:  # before anybody starts, as somebody does who wants both on one core
        pin(os.getpid(), frozenset([here]))
    if MARKS in os.environ:
        _do_without_pidfd()
    if caller:
        put.in_caller(caller)
    variables = {PUT: str(HERE / "put.py"), EXTENSION: worker}
    if MARKS in os.environ:
        variables[MARKS] = os.environ[MARKS]
    environment = isopod.Env.current(variables=variables)
    with isopod.load(f"{HERE / 'subject.py'}:Subject", env=environment, sandbox="none") as model:
        if here != there:
            pin(os.getpid(), frozenset([here]))
            pin(model.health.pid or 0, frozenset([there]))
        serve(model)
    os.sched_setaffinity(0, everywhere)


def serve(model: Any) -> None:
    x = model.empty("x", 256)  # float32: 1 KB
    x[:] = 1
    many = {f"x{number}": np.ones(4, np.float32) for number in range(100)}
    calls: dict[str, Callable[[], object]] = {"1 KB": lambda: model(x=x), "100 tensors": lambda: model(**many)}
    assert model(x=x)["output"][0] == 2
    assert model(**many)["count"][0] == 100
    print("ready", flush=True)
    for line in sys.stdin:
        if line.startswith("count"):
            told: Any = count(model, list(calls.values()))
        elif line.startswith("bytecodes"):
            told = bytecodes(model, calls["1 KB"])
        else:
            kind, _, number = line.strip().rpartition(" ")
            told = timed(calls[kind], int(number))
        print(json.dumps(told), flush=True)


def timed(call: Callable[[], object], number: int) -> list[int]:
    for _ in range(number // 10):
        call()
    samples, clock = [], time.perf_counter_ns
    for _ in range(number):
        began = clock()
        call()
        samples.append(clock() - began)
    return samples


def count(model: Any, calls: list[Callable[[], object]]) -> dict[str, int]:
    """As ``benchmarks.quick.subject`` does it."""
    marks = ctypes.CDLL(os.environ[MARKS])
    for call in calls:
        for _ in range(WARM):
            call()
    model(do="begin")
    marks.start()
    for call in calls:
        marks.mark()
        for _ in range(COUNTED):
            call()
            marks.mark()
    return {"caller": os.getpid(), "worker": model.health.pid}


def bytecodes(model: Any, call: Callable[[], object]) -> dict[str, dict[str, float]]:
    """Of a call, on average."""
    ours = Bytecodes()
    for _ in range(WARM):
        call()
    model(do="trace")
    for _ in range(COUNTED):
        sys.settrace(ours)
        call()
        sys.settrace(None)
    its = dict(each.split() for each in map(str, model(do="told")["told"]))
    sides = (("caller", ours.found), ("worker", its))
    return {side: {folder: int(count) / COUNTED for folder, count in found.items()} for side, found in sides}


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
