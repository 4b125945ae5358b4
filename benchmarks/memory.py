"""``python -m benchmarks.memory``: what a worker takes of memory, beside an interpreter that has merely imported numpy.

Private memory: pages that no other process has (the unique set size, of ``/proc/PID/smaps``), in bytes. Both are of one
environment and take turns; a worker is looked at once it has answered and is idle.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil

import isopod
from benchmarks.machine import facts
from isopod.cli.screen import Screen

_MODEL = f"{Path(__file__).resolve().parent / 'functions.py'}:first"
_BARE = "import numpy, sys; print(flush=True); sys.stdin.read()"
_TARGET = 12 * 1_000_000  # bytes that a worker may take beyond the other
BARE, WORKER = "python -c 'import numpy'", "a worker of isopod"


def measure(rounds: int) -> dict[str, list[int]]:
    """Bytes of each round, by who."""
    found: dict[str, list[int]] = {BARE: [], WORKER: []}
    for _ in range(rounds):
        found[BARE].append(_bare())
        with isopod.load(_MODEL) as model:
            for _ in range(100):
                model(x=np.zeros(256, np.float32))
            pid = model.health.pid
            assert pid is not None
            found[WORKER].append(_private(pid))
    return found


def _bare() -> int:
    with subprocess.Popen([sys.executable, "-c", _BARE], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        return _private(process.pid)


def _private(pid: int) -> int:
    return int(psutil.Process(pid).memory_full_info().uss)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, too")
    options = parser.parse_args(arguments)
    found, machine = measure(options.rounds), facts()
    screen = Screen()
    screen.heading("This machine")
    for name, value in machine.items():
        screen.line(f"  {name:<12}   {value}")
    screen.heading("Private memory of a process: MB")
    screen.line(f"  {'':<26}{'median':>9}{'min':>9}{'max':>9}")
    for who, sizes in found.items():
        figures = (statistics.median(sizes), min(sizes), max(sizes))
        screen.line(f"  {who:<26}" + "".join(f"{size / 1e6:>9.1f}" for size in figures))
    more = statistics.median(found[WORKER]) - statistics.median(found[BARE])
    screen.line()
    screen.line(f"  A worker takes {more / 1e6:.1f} MB more; at most {_TARGET / 1e6:.0f} are promised.")
    if options.json:
        told = {"machine": machine, "bytes": found}
        options.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
