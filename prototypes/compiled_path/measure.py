"""What the compiled path brings: pure and compiled callers in turn, in one run; the semaphores' ping-pong beside them.

``python prototypes/compiled_path/measure.py`` from the repository's root, with its environment. Builds the extension,
and says why where it cannot. Instructions are counted where valgrind is installed.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))
sys.path.insert(1, str(ROOT))

from build import Unavailable, build  # noqa: E402
from driver import COUNTED, KINDS  # noqa: E402

from benchmarks.machine import facts  # noqa: E402
from benchmarks.measure import timed  # noqa: E402
from benchmarks.peers.yardsticks import ping_pong  # noqa: E402
from benchmarks.placement import pin, placements  # noqa: E402
from benchmarks.quick.counts import _dumps  # noqa: E402

ROUNDS = 12
CALLS = {"1 KB": 1500, "100 tensors": 200}
SIDES = ("pure", "compiled")


@dataclass
class Driver:
    """A process of ``driver.py``."""

    process: subprocess.Popen[str]

    def ask(self, line: str) -> Any:
        assert self.process.stdin is not None
        print(line, file=self.process.stdin, flush=True)
        return json.loads(self.line())

    def line(self) -> str:
        assert self.process.stdout is not None
        told = self.process.stdout.readline()
        if not told:
            raise RuntimeError("a driver has died")
        return told


@contextlib.contextmanager
def driver(here: int, there: int, caller: str, worker: str, *before: str, marks: str = "") -> Iterator[Driver]:
    command = [*before, sys.executable, str(HERE / "driver.py"), str(here), str(there), caller, worker]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    if marks:
        environment["ISOPOD_BENCH_MARKS"] = marks
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        made = Driver(process)
        made.line()
        yield made


def times(extension: str) -> list[list[str]]:
    rows = [["", "", "pure", "", "compiled", "", "ratio", "saved"]]
    rows.append(["placement", "call", "median", "min", "median", "min", "of medians", "median"])
    for place in placements():
        if place.name == "unpinned":
            continue
        here, there = min(place.here), min(place.there)
        samples: dict[tuple[str, str], list[list[int]]] = {}
        bells: list[int] = []
        with contextlib.ExitStack() as stack:
            pair = stack.enter_context(ping_pong())
            drivers = {
                side: stack.enter_context(driver(here, there, path, path)) for side, path in each_side(extension)
            }
            for number in range(ROUNDS):
                pin(pair.pid, place.there)
                everywhere = frozenset(os.sched_getaffinity(0))
                pin(os.getpid(), place.here)
                timed(pair, 200)
                bells += timed(pair, CALLS["1 KB"])
                pin(os.getpid(), everywhere)
                for kind in KINDS:
                    for side in SIDES if number % 2 else SIDES[::-1]:
                        taken = drivers[side].ask(f"{kind} {CALLS[kind]}")
                        samples.setdefault((kind, side), []).append(taken)
            for each in drivers.values():
                assert each.process.stdin is not None
                each.process.stdin.close()
        for kind in KINDS:
            pure, compiled = samples[kind, "pure"], samples[kind, "compiled"]
            pairs = list(zip(pure, compiled, strict=True))
            ratios = [statistics.median(ours) / statistics.median(its) for its, ours in pairs]
            saved = [(statistics.median(its) - statistics.median(ours)) / 1e3 for its, ours in pairs]
            cells = [f"{form(chunks) / 1e3:.1f}" for chunks in (pure, compiled) for form in (middle, least)]
            rows.append(
                [str(place), kind, *cells, f"{statistics.median(ratios):.2f}", f"{statistics.median(saved):.1f}"]
            )
        middle_bell, least_bell = statistics.median(bells) / 1e3, min(bells) / 1e3
        rows.append([str(place), "semaphores", f"{middle_bell:.1f}", f"{least_bell:.1f}", "", "", "", ""])
    return rows


def each_side(extension: str) -> list[tuple[str, str]]:
    return [("pure", ""), ("compiled", extension)]


def middle(chunks: list[list[int]]) -> float:
    return statistics.median([sample for chunk in chunks for sample in chunk])


def least(chunks: list[list[int]]) -> float:
    return min(min(chunk) for chunk in chunks)


def instructions(extension: str, folder: Path) -> list[list[str]]:
    """Medians of each side. Raises ``Unavailable``."""
    if which("valgrind") is None:
        raise Unavailable("there is no valgrind")
    marks = folder / "marks.so"
    source = ROOT / "benchmarks/quick/marks.c"
    built = subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", marks, source], check=False, capture_output=True)
    if built.returncode:
        raise Unavailable("the marks cannot be compiled")
    core = min(os.sched_getaffinity(0))
    found: dict[tuple[str, str, str], float] = {}
    for side, path in each_side(extension):
        into = folder / side
        into.mkdir()
        options = ["-q", f"--log-file={into}/log.%p", "--instr-atstart=no", "--trace-children=yes"]
        command = ["valgrind", "--tool=callgrind", *options, f"--callgrind-out-file={into}/out.%p"]
        with driver(core, core, path, path, *command, marks=str(marks)) as made:
            told = made.ask("count")
            assert made.process.stdin is not None
            made.process.stdin.close()
        for end in ("caller", "worker"):
            dumps = _dumps(into, told[end])
            each = len(dumps) // len(KINDS)
            assert each >= COUNTED, f"{len(dumps)} dumps of the {end}"
            for number, kind in enumerate(KINDS):
                found[kind, end, side] = statistics.median(dumps[number * each + 1 : (number + 1) * each])
    rows = [["call", "side", *SIDES, "ratio"]]
    for kind in KINDS:
        for end in ("caller", "worker"):
            pure, compiled = (found[kind, end, side] for side in SIDES)
            rows.append([kind, end, f"{pure:,.0f}", f"{compiled:,.0f}", f"{compiled / pure:.2f}"])
    return rows


def bytecodes(extension: str) -> list[list[str]]:
    """Of a call with 1 KB, by side and folder."""
    core = min(os.sched_getaffinity(0))
    found: dict[tuple[str, str], dict[str, float]] = {}
    for side, path in each_side(extension):
        with driver(core, core, path, path) as made:
            for end, counts in made.ask("bytecodes").items():
                for folder, count in counts.items():
                    found.setdefault((end, folder), {})[side] = count
            assert made.process.stdin is not None
            made.process.stdin.close()
    rows = [["side", "folder", *SIDES]]
    for (end, folder), counts in sorted(found.items()):
        rows.append([end, folder, *(f"{counts.get(side, 0.0):,.0f}" for side in SIDES)])
    return rows


def show(title: str, rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print(f"\n{title}")
    for row in rows:
        print("  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="isopod-prototype-") as name:
        folder = Path(name)
        try:
            extension = str(build(folder))
        except Unavailable as reason:
            print(f"The prototype is not measured: {reason}")
            return 0
        for fact, value in facts().items():
            print(f"  {fact}: {value}")
        show(f"µs a call, {ROUNDS} rounds in turn", times(extension))
        show("Bytecodes of a call with 1 KB", bytecodes(extension))
        try:
            show("Instructions of a call, both on one core, medians", instructions(extension, folder))
        except Unavailable as reason:
            print(f"Instructions are not counted: {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
