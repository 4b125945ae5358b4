"""``python -m benchmarks.quick``: measure, and say what moved since the baseline; or write the baseline anew."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import Load, facts
from benchmarks.progress import Progress
from benchmarks.quick import counts, ratios
from benchmarks.quick.baseline import Baseline, Figure, Verdict, compare
from isopod.cli.screen import Screen, table

BASELINE = Path(__file__).resolve().parent.parent / "baseline.json"
_SECONDS = 15.0  # for the ratios of each placement
_COLOURS = {"worse": "red", "better": "green"}


def main(arguments: list[str] | None = None) -> int:
    """The exit code is 1 only with ``--fail``, where something is worse; 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quick", description="What moved since the baseline.")
    parser.add_argument("--update", action="store_true", help="write the baseline anew, of what is measured now")
    parser.add_argument("--fail", action="store_true", help="exit code 1 if anything is worse")
    parser.add_argument("--counts-only", action="store_true", help="leave out the ratios: what neighbours cannot move")
    parser.add_argument("--baseline", type=Path, default=BASELINE, metavar="FILE")
    options = parser.parse_args(arguments)
    if options.update and options.counts_only:
        parser.error("a baseline without ratios would be none: --update takes all of it")
    screen = Screen()
    try:
        now, notes = measure(with_ratios=not options.counts_only)
    except KeyboardInterrupt:
        return 130
    verdicts = compare(Baseline.read(options.baseline), now) if options.baseline.exists() else []
    report(screen, verdicts, now, notes)
    if options.update:
        now.write(options.baseline)
        screen.line(f"written: {options.baseline}")
        return 0
    return int(options.fail and any(verdict.word == "worse" for verdict in verdicts))


def measure(*, with_ratios: bool) -> tuple[Baseline, list[str]]:
    """Today's figures, and what is to be said of them."""
    seconds = ratios.planned(_SECONDS) if with_ratios else 0.0
    progress = Progress(seconds + counts.BYTECODES_PLANNED + counts.INSTRUCTIONS_PLANNED)
    figures: dict[str, Figure] = {}
    notes = []
    before = Load.now()
    try:
        if with_ratios:
            figures.update(ratios.measure(_SECONDS, progress))
        progress.step("bytecodes of a call", counts.BYTECODES_PLANNED)
        figures.update(counts.bytecodes())
        progress.step("instructions of a call", counts.INSTRUCTIONS_PLANNED)
        try:
            figures.update(counts.instructions())
        except counts.Unavailable as reason:
            notes.append(f"Instructions are not counted: {reason}.")
    finally:
        progress.clear()
    return Baseline({**facts(), **Load.now().since(before)}, counts.counted_on(), figures), notes


def report(screen: Screen, verdicts: Sequence[Verdict], now: Baseline, notes: Sequence[str]) -> None:
    """A line a figure, and in colour what has moved."""
    screen.heading("What moved" if verdicts else "There is no baseline yet; this is what was measured")
    judged = verdicts or [Verdict(name, figure, None) for name, figure in now.figures.items()]
    rows = [["", "baseline", "now", "change", "tolerance", ""], *map(_cells, judged)]
    table(screen, rows)
    for verdict in judged:
        if verdict.word in _COLOURS:
            screen.line(screen.style(f"  {verdict.word}: {verdict.name}", _COLOURS[verdict.word]))
    if any(verdict.word == "not compared" for verdict in judged):
        notes = [*notes, f"Counts are compared only with those of the same kind of Python; here: {now.counted_on}."]
    for note in notes:
        screen.line(screen.style(f"  {note}", "yellow"))


def _cells(verdict: Verdict) -> list[str]:
    values = [_value(figure) for figure in (verdict.then, verdict.now)]
    change = "" if verdict.change is None else f"{verdict.change:+.1%}"
    tolerance = "" if verdict.tolerance is None else f"{verdict.tolerance:.1%}"
    return [verdict.name, *values, change, tolerance, verdict.word]


def _value(figure: Figure | None) -> str:
    return "" if figure is None else f"{figure.value:,.0f}" if figure.value >= 100 else f"{figure.value:.2f}"


if __name__ == "__main__":
    sys.exit(main())
