"""``isopod bench``: a benchmark of one model as tables, as JSON and as a report with plots."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from isopod import IsopodError
from isopod.cli.asked import numbers_of, options_of, seconds_of, wish_of
from isopod.cli.progress import Bars, Stages, bars
from isopod.cli.screen import Screen, table
from isopod.runtime import pictures
from isopod.runtime.bench import Benching, Benchmark, Plan
from isopod.runtime.bench.inputs import amount
from isopod.runtime.bench.report import breakdowns
from isopod.runtime.bench.results import PERCENTILES, Series
from isopod.runtime.observe.phases import PHASES, label

_STAGES: Stages = {
    "python": (0.00, 0.00, "fetching Python"),
    "resolve": (0.00, 0.05, "resolving"),
    "wait": (0.00, 0.05, "waiting"),
    "download": (0.05, 0.15, "downloading"),
    "install": (0.15, 0.20, "installing"),
    "warm": (0.15, 0.20, "first imports"),
    "start": (0.15, 0.20, "loading"),
    "measure": (0.20, 1.00, "measuring"),
}
_BAR = 24  # characters
_MOST_COLUMNS = 5  # of phases, in a terminal of 80


def run(screen: Screen, arguments: argparse.Namespace) -> int:
    """Measure, tell, and return the exit code. Raises ``IsopodError`` when it has told of the rest."""
    if arguments.report:
        pictures.check(Path(arguments.report))
    plan = Plan(
        arguments.seconds, arguments.calls, numbers_of("--callers", arguments.callers),
        seconds_of("--pace", arguments.pace), not arguments.no_in_process, arguments.timeout, arguments.placements,
    )  # fmt: skip
    benching = Benching(arguments.model, wish_of(arguments), plan, options_of(arguments))
    failure = _run(arguments, benching)
    result = benching.result
    if result.some("back to back"):
        _tell_all(screen, result, arguments)
    if failure is not None:
        raise failure
    return 0 if result.complete else 130


def _tell_all(screen: Screen, result: Benchmark, arguments: argparse.Namespace) -> None:
    if arguments.json:
        screen.line(json.dumps(result.to_dict(), indent=2, allow_nan=False))
    else:
        tell(screen, result)
    if arguments.report:
        where = result.report(arguments.report)
        if not arguments.json:
            screen.line(f"report: {where}")


def _run(arguments: argparse.Namespace, benching: Benching) -> IsopodError | None:
    """Run it with a bar on stderr, so that stdout has the result alone. Ctrl-C ends it with what there is."""
    with contextlib.suppress(KeyboardInterrupt), _bars(benching.result.name, quiet=arguments.json) as shown:
        name = benching.result.name
        benching.progress = lambda what, done, total: shown.tell(
            name, *((what, "") if what in _STAGES else ("measure", what)), done, total
        )
        benching.listener = shown.listener(name)
        try:
            with benching:
                benching.run()
        except IsopodError as error:  # raised when what there is has been told
            return error
    return None


@contextlib.contextmanager
def _bars(name: str, *, quiet: bool) -> Iterator[Bars]:
    screen = Screen(sys.stderr)
    if quiet and not screen.live:
        yield Bars(screen, [name], {})
    else:
        with bars(screen, [name], _STAGES) as shown:
            yield shown


# ---------------------------------------------------------------------- tables


def tell(screen: Screen, result: Benchmark) -> None:
    """Write all of it, for a terminal of 80 columns."""
    screen.heading(result.name)
    facts = [*result.model.items(), *result.facts.items()]
    for name, value in facts:
        screen.fact(name, value)
    for size, shapes in result.inputs.items():
        screen.fact("inputs", shapes if len(result.inputs) == 1 else f"{size}: {shapes}")
    for kind, title in (
        ("back to back", "One call, back to back: µs"), ("paced", f"One call, {_time(result.pace)} after the other: µs")
    ):  # fmt: skip
        found = [one for one in result.series if one.kind == kind and one.samples]
        if found:
            screen.heading(title)
            _latencies(screen, found)
    _phases(screen, result)
    _callers(screen, result)
    for note in result.notes:
        screen.line()
        screen.quote([note], "yellow")
    if not result.complete:
        screen.line()
        screen.line(screen.style("Interrupted: these are the figures until then.", "yellow"))


def _latencies(screen: Screen, found: Sequence[Series]) -> None:
    rows: list[Sequence[str]] = [("", "", "median", "p90", "p99", "min", "calls")]
    last = ""
    for one in found:
        size = "" if one.size == last else _sized(one)
        last = one.size
        figures = [_number(one.percentile(percent)) for percent in PERCENTILES]
        rows.append((size, one.who, *figures, _number(min(one.samples) / 1e3), f"{len(one.samples):,}"))
    table(screen, rows, left=2)


def _sized(one: Series) -> str:
    told = amount(one.nbytes)
    return told if one.size in (told, "") else f"{one.size}, {told}" if "=" in one.size else one.size


def _phases(screen: Screen, result: Benchmark) -> None:
    """Means of the middle half of the calls, which add up; the bars are those of the first column."""
    found = breakdowns(result)
    if not found:
        return
    if len(found) > _MOST_COLUMNS:  # the smallest and the largest size, paced, and the most callers
        found = _chosen(found)
    screen.heading("Where the time of a call goes: µs, means of the middle half of the calls")
    typical = [one.typical() for _, one in found]
    longest = max(typical[0].values()) or 1.0
    rows: list[Sequence[str]] = [("", *(name for name, _ in found), "")]
    for phase in PHASES:
        bar = "█" * round(typical[0][phase.name] / longest * _BAR) if len(found) == 1 else ""
        rows.append((label(phase.name), *(_number(one[phase.name]) for one in typical), bar))
    rows.append(("all of it", *(_number(sum(one.values())) for one in typical), ""))
    table(screen, [row if len(found) == 1 else row[:-1] for row in rows])


def _chosen(found: list[tuple[str, Series]]) -> list[tuple[str, Series]]:
    sizes = [pair for pair in found if pair[1].kind == "back to back"]
    callers = [pair for pair in found if pair[1].kind == "callers"]
    paced = [pair for pair in found if pair[1].kind == "paced"]
    kept = _MOST_COLUMNS - len(paced) - min(1, len(callers))
    spread = sizes if len(sizes) <= kept else [*sizes[: kept - 1], sizes[-1]]
    return [*spread, *paced, *callers[-1:]]


def _callers(screen: Screen, result: Benchmark) -> None:
    found = result.some("callers")
    if not found:
        return
    screen.heading(f"Callers at once, {_sized(found[0])}: µs")
    rows: list[Sequence[str]] = [("", "calls a second", "median", "p90", "p99", "calls")]
    for one in found:
        figures = [_number(one.percentile(percent)) for percent in PERCENTILES]
        rows.append((str(one.callers), _number(one.rate), *figures, f"{len(one.samples):,}"))
    table(screen, rows)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _time(seconds: float) -> str:
    return f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1e3:g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:g} µs"
