"""Callers of a model that batches: a gate that keeps its worker busy meanwhile, and what the model saw."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from waits import GUARD, until

import isopod
from isopod import Batch

DIES, RAISES, DROPS, PAIRS, NAMES, HANGS, YIELDS = -1, -2, -3, -4, -5, -6, -7  # as in the model's file
LONG = Batch(max_delay=1000.0)  # nobody's patience ends by itself


def row(value: float, rows: int = 1) -> Any:
    return np.full((rows, 3), value, np.float64)


def waiting(model: Any) -> int:
    """How many callers have written their rows into batches that are not sent."""
    roster = model._batcher._roster
    with roster.lock:
        return sum(len(group.members) - len(group.writers) for group in roster.gathering.values())


class Gate:
    """Keeps the worker of a model busy, with a call that nobody can join, until it is opened."""

    def __init__(self, model: isopod.Model, path: Path) -> None:
        self._model, self._path = model, path
        runs = model.stats().runs
        self.future = model.submit(x=row(0), until=str(path))
        until(self.future.running)
        assert model.stats().runs == runs

    def await_callers(self, count: int) -> None:
        until(lambda: waiting(self._model) == count)

    def open(self) -> None:
        self._path.touch()
        self.future.result(GUARD)


def load(models: Path, name: str = "Rows", **options: Any) -> isopod.Model:
    options.setdefault("batch", Batch(max_size=16, max_delay=0.001))
    return isopod.load(models / f"batches.py:{name}", **options)


def in_threads(calls: list[Callable[[], Any]]) -> tuple[list[threading.Thread], list[Any]]:
    """Each in a thread of its own; what it returned or raised is put into its place of the list."""
    found: list[Any] = [None] * len(calls)

    def run(place: int) -> None:
        try:
            found[place] = calls[place]()
        except Exception as error:
            found[place] = error

    threads = [threading.Thread(target=run, args=(place,), daemon=True) for place in range(len(calls))]
    for thread in threads:
        thread.start()
    return threads, found


def join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(GUARD)
        assert not thread.is_alive()


def runs_in(folder: Path) -> list[list[int]]:
    """What a model saw: the first value of each row of each run, in order."""
    names = sorted(path.name for path in folder.iterdir())
    return [[int(value) for value in name.split("-", 1)[1].split(",")] for name in names]
