"""``python -m benchmarks.batching``: what micro-batching brings to a Torch MLP with many callers that send a row each.

Unbatched and batched workers of the same model take turns with the same callers, so that whatever else the machine does
hits both. A *caller* is a thread that calls again as soon as it has its answer. Rates are over whole turns; latencies
are of each call, and the ratio is that of the medians of the turns.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import isopod
from benchmarks.machine import Load, facts
from benchmarks.progress import Progress
from isopod.cli.screen import Screen

_MODEL = f"{Path(__file__).resolve().parent / 'mlp.py'}:MLP"
_FEATURES = 784
_TURN = 1.0  # seconds
_CALLERS = (1, 2, 4, 8, 32)
_OPENING = 10.0  # seconds, about


class Turns:
    """Calls a second in each turn of one model with a number of callers, and how long each call took."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.waits: list[int] = []

    def take(self, model: isopod.Model, callers: int, seconds: float) -> None:
        inputs = [np.random.default_rng(number).random((1, _FEATURES), np.float32) for number in range(callers)]
        waits: list[list[int]] = [[] for _ in inputs]
        began = time.monotonic()
        until = began + seconds

        def call_on(number: int) -> None:
            clock, note, x = time.perf_counter_ns, waits[number].append, inputs[number]
            while time.monotonic() < until:
                start = clock()
                model(x=x)
                note(clock() - start)

        threads = [threading.Thread(target=call_on, args=(number,)) for number in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.rates.append(sum(map(len, waits)) / (time.monotonic() - began))
        self.waits += [wait for each in waits for wait in each]

    def figures(self) -> dict[str, float]:
        ordered = sorted(self.waits)
        return {
            "calls_a_second": statistics.median(self.rates),
            "median_us": statistics.median(ordered) / 1e3,
            "p99_us": ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] / 1e3,
        }


def measure(models: dict[str, isopod.Model], callers: Sequence[int], rounds: int, progress: Progress) -> dict[Any, Any]:
    """Figures by number of callers and by model."""
    figures: dict[Any, Any] = {}
    for number in callers:
        turns = {name: Turns() for name in models}
        progress.step(f"{number} callers", rounds * len(models) * _TURN)
        for model in models.values():
            Turns().take(model, number, _TURN / 5)  # warm
            _check(model, models)
        for _ in range(rounds):
            for name, model in models.items():
                turns[name].take(model, number, _TURN)
        figures[number] = {name: turns[name].figures() for name in models}
    return figures


def _check(model: isopod.Model, models: dict[str, isopod.Model]) -> None:
    x = np.random.default_rng(0).random((1, _FEATURES), np.float32)
    first = next(iter(models.values()))
    if not np.allclose(model(x=x)["scores"], first(x=x)["scores"], atol=1e-4):
        raise AssertionError("a batched model answers otherwise")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.batching", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--callers", type=int, nargs="+", default=_CALLERS)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32], help="max_size of each batched model")
    parser.add_argument("--delay", type=float, default=isopod.Batch().max_delay, help="max_delay in seconds")
    parser.add_argument("--layers", type=int, nargs="+", default=[1024, 1024], help="widths of the hidden layers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--env", default="torch==2.*", help="requirement of the model's environment, or its path")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, too")
    options = parser.parse_args(arguments)
    env = options.env if "/" in options.env else isopod.Env([options.env])
    args = {"layers": [_FEATURES, *options.layers, 10]}
    before = Load.now()
    turns = options.rounds * len(options.callers) * (1 + len(options.sizes))
    progress = Progress(_OPENING + turns * _TURN)
    with contextlib.ExitStack() as stack:
        progress.step("loading the models", _OPENING)
        models = {"one by one": stack.enter_context(isopod.load(_MODEL, env=env, args=args, threads=1))}
        for size in options.sizes:
            batch = isopod.Batch(size, options.delay)
            models[f"Batch({size})"] = stack.enter_context(
                isopod.load(_MODEL, env=env, args=args, threads=1, batch=batch)
            )
        figures = measure(models, options.callers, options.rounds, progress)
        together = {name: model.stats() for name, model in models.items()}
    progress.clear()
    machine = {**facts(), **Load.now().since(before)}
    _report(figures, machine, {name: stats.calls / stats.runs for name, stats in together.items()})
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "figures": figures}, indent=1) + "\n", encoding="utf-8")
    return 0


def _report(figures: dict[Any, Any], machine: dict[str, Any], together: dict[str, float]) -> None:
    screen = Screen()
    screen.heading("This machine")
    for name, value in machine.items():
        screen.line(f"  {name:<12}   {value}")
    screen.heading("Micro-batching: an MLP of Torch, one thread, one row a call")
    screen.line(f"  {'callers':<9}{'':<14}{'calls/s':>10}{'':>8}{'median µs':>12}{'p99 µs':>12}")
    for callers, rows in figures.items():
        base = next(iter(rows.values()))["calls_a_second"]
        for place, (name, row) in enumerate(rows.items()):
            ratio = f"×{row['calls_a_second'] / base:.1f}" if place else ""
            screen.line(
                f"  {'' if place else callers:<9}{name:<14}{row['calls_a_second']:>10.0f}{ratio:>8}"
                f"{row['median_us']:>12.0f}{row['p99_us']:>12.0f}"
            )
    told = ", ".join(f"{name} {size:.1f}" for name, size in list(together.items())[1:])
    screen.line()
    screen.line(screen.style(f"Calls in a batch, over all of it: {told}.", "dim"))


if __name__ == "__main__":
    sys.exit(main())
