"""``python -m benchmarks``: run them, print tables, and write JSON if asked to. Ctrl-C prints what there is."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks import cold_start, crash, round_trip, sandbox, tables, targets
from benchmarks.effort import FULL, QUICK
from benchmarks.machine import Load, facts
from benchmarks.progress import Progress
from benchmarks.results import Results
from isopod.cli.screen import Screen

_ALL = {"round-trip": round_trip, "cold-start": cold_start, "crash": crash, "sandbox": sandbox, "targets": targets}
_NOTES = """\
float32 arrays. One out: one element comes back, isopod's input lies in shared memory. x + 1: an array as large comes
back; two copies: ordinary arrays; no copies: model.empty in, worker.empty out; check: against a problem, both ways.
Chain: x + 1 without copies, and one element of that from a second model: given the output as it is, or a copy of it.
Pipe: multiprocessing.Pipe, pickle 5. Each call is timed by itself, with the release of its result; the p99 is the
nearest rank, and below 100 samples the largest. Contenders take turns in chunks of about 20 ms; the first calls of a
chunk (five, or one of slow ones) are not counted, every other one is. Pinned: every thread of both processes, after
the worker has started."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="The numbers of this machine.")
    parser.add_argument("--quick", action="store_true", help="under 20 seconds, with coarser figures")
    parser.add_argument("--only", choices=_ALL, action="append", help="one of them; may be given again")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, too")
    options = parser.parse_args(arguments)
    effort = QUICK if options.quick else FULL
    chosen = [benchmark for name, benchmark in _ALL.items() if not options.only or name in options.only]
    progress = Progress(sum(benchmark.planned(effort) for benchmark in chosen))
    results, before = Results(), Load.now()
    complete = False
    try:
        for benchmark in chosen:
            benchmark.run(effort, results, progress)
        complete = True
    except KeyboardInterrupt:
        return 130
    finally:  # after Ctrl-C or an error: what there is
        progress.clear()
        _report(results, before, complete, options)
    return 0


def _report(results: Results, before: Load, complete: bool, options: argparse.Namespace) -> None:
    machine = {**facts(), **Load.now().since(before)}
    screen = Screen()
    screen.heading("This machine")
    for name, value in machine.items():
        screen.line(f"  {name:<12}   {value}")
    tables.report(screen, results)
    screen.line()
    screen.line(screen.style(_NOTES, "dim"))
    if not complete:
        screen.line(screen.style("Not finished: these are the figures until then.", "yellow"))
    if options.json:
        text = json.dumps(
            {
                "complete": complete,
                "quick": options.quick,
                "machine": machine,
                "figures": results.rows(),
                "notes": results.notes(crash.NAME),
            },
            indent=1,
        )
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
