"""The report: plain text in aligned columns, from whatever has been measured."""

from __future__ import annotations

from benchmarks import cold_start, crash, round_trip, sandbox, targets
from benchmarks.measure import Summary
from benchmarks.results import Results
from isopod.cli.screen import Screen

_FIGURES = ("median", "p99", "min")
_GAP = "  "


def report(screen: Screen, results: Results) -> None:
    """Every table for which there is anything."""
    _round_trips(screen, results)
    _paced(screen, results)
    _cold_start(screen, results)
    _crash(screen, results)
    _sandbox(screen, results)
    _targets(screen, results)


def _targets(screen: Screen, results: Results) -> None:
    rows = []
    for target in targets.ALL:
        measured, yardstick = (
            results.get(targets.NAME, target.yardstick, target.what, who)
            for who in (targets.MEASURED, targets.YARDSTICK)
        )
        if measured is None or yardstick is None:
            continue
        most = target.times * yardstick.median_us + target.plus_us
        beside = _number(yardstick.median_us) if target.times else ""
        ratio = f"{measured.median_us / yardstick.median_us:.2f}" if target.times else ""
        met = "met" if measured.median_us <= most else "not met"
        rows.append((target.what, _number(measured.median_us), target.yardstick, beside, ratio, _number(most), met))
    if rows:
        screen.heading("Targets: medians in µs a call")
        _plain(screen, [("", "measured", "beside", "it takes", "ratio", "at most", ""), *rows], left=(0, 2, 6))


def _plain(screen: Screen, table: list[tuple[str, ...]], left: tuple[int, ...]) -> None:
    """A table whose first row is its head; the columns ``left`` are of text."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for number, row in enumerate(table):
        cells = [
            cell.ljust(width) if place in left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        text = (_GAP + _GAP.join(cells)).rstrip()
        screen.line(screen.style(text, "dim") if number == 0 else text)


def _round_trips(screen: Screen, results: Results) -> None:
    name = round_trip.NAME
    sizes, contenders = results.values(name, "what"), results.values(name, "who")
    for where in results.values(name, "where"):
        screen.heading(f"One call, back to back, {where}: µs")
        found = {who: [results.get(name, where, size, who) for size in sizes] for who in contenders}
        _grouped(screen, sizes, found)


def _paced(screen: Screen, results: Results) -> None:
    name = round_trip.PACED
    places = results.values(name, "where")
    if places:
        screen.heading(
            f"One call of {results.values(name, 'what')[0]}, {round_trip.PAUSE * 1e3:g} ms of sleep before it: µs"
        )
        found = {
            who: [results.get(name, where, results.values(name, "what")[0], who) for where in places]
            for who in results.values(name, "who")
        }
        _grouped(screen, [where.partition(" (")[0] for where in places], found)


def _cold_start(screen: Screen, results: Results) -> None:
    name = cold_start.NAME
    if results.values(name, "who"):
        screen.heading("Cold start, numpy only: ms")
        rows = {who: [results.get(name, "unpinned", "whole", who)] for who in results.values(name, "who")}
        _grouped(screen, [""], {who: row for who, row in rows.items() if row[0]}, scale=1e3)
        screen.heading("Where the time until ready goes: ms")
        rows = {who: [results.get(name, "unpinned", "part", who)] for who in results.values(name, "who")}
        _grouped(screen, [""], {who: row for who, row in rows.items() if row[0]}, scale=1e3)


def _crash(screen: Screen, results: Results) -> None:
    name = crash.NAME
    if results.values(name, "who"):
        screen.heading("SIGKILL in mid-call: ms")
        rows = {who: [results.get(name, "unpinned", "whole", who)] for who in crash.ROWS}
        _grouped(screen, [""], {who: row for who, row in rows.items() if row[0]}, scale=1e3)
    for note in results.notes(name):
        screen.line(screen.style(_GAP + note, "yellow"))


def _sandbox(screen: Screen, results: Results) -> None:
    profiles = results.values(sandbox.NAME, "where")
    if profiles:
        screen.heading("Start of a worker by profile: ms")
        rows = {
            who: [results.get(sandbox.NAME, profile, "start", who) for profile in profiles]
            for who in results.values(sandbox.NAME, "who")
        }
        _grouped(screen, profiles, rows, scale=1e3)
    name = sandbox.CALLS
    for what in results.values(name, "what"):
        screen.heading("One call by profile: µs")
        _grouped(screen, [""], {who: [results.get(name, "unpinned", what, who)] for who in results.values(name, "who")})
    _neighbours(screen, results)


def _neighbours(screen: Screen, results: Results) -> None:
    rows = []
    for abuse in results.values(sandbox.NEIGHBOURS, "what"):
        alone, beside = (
            results.get(sandbox.NEIGHBOURS, "unpinned", abuse, who) for who in (sandbox.ALONE, sandbox.BESIDE)
        )
        if alone is None or beside is None:
            continue
        ratio = beside.median_us / alone.median_us
        times = (_number(value) for value in (alone.median_us, beside.median_us, beside.p99_us))
        verdict = "met" if ratio <= sandbox.MOST else "not met"
        rows.append((abuse, *times, f"{ratio:.2f}", "" if abuse.endswith(sandbox.ON_ALL) else verdict))
    if rows:
        screen.heading(f"A model's calls beside a strict one that …: µs; the median is promised {sandbox.MOST:g} times")
        _plain(screen, [("", "alone", "beside", "p99", "ratio", ""), *rows], left=(0, 5))


def _grouped(screen: Screen, groups: list[str], rows: dict[str, list[Summary | None]], *, scale: float = 1.0) -> None:
    """A row a contender; for each group its median, p99 and minimum. Below: how many samples there were."""
    body = {who: [_cells(summary, scale) for summary in summaries] for who, summaries in rows.items()}
    label = max(len(who) for who in body)
    lines = [("", [list(_FIGURES) for _ in groups]), *body.items()]
    widths = [
        [max(len(row[group][k]) for _, row in lines) for k in range(len(_FIGURES))] for group in range(len(groups))
    ]
    if any(groups):
        heads = [name.center(sum(width) + len(_GAP) * 2) for name, width in zip(groups, widths, strict=True)]
        screen.line(_GAP + " " * label + _GAP * 2 + (_GAP * 2).join(heads).rstrip())
    for number, (who, row) in enumerate(lines):
        cells = [
            _GAP.join(cell.rjust(size) for cell, size in zip(group, width, strict=True))
            for group, width in zip(row, widths, strict=True)
        ]
        text = _GAP + who.ljust(label) + _GAP * 2 + (_GAP * 2).join(cells)
        screen.line(screen.style(text, "dim") if number == 0 else text)
    counts = [[row[group] for row in rows.values()] for group in range(len(groups))]
    samples = [_count(group, name) for group, name in zip(counts, groups, strict=True)]
    screen.line(screen.style(f"{_GAP}samples a row: {', '.join(samples)}", "dim"))


def _count(summaries: list[Summary | None], name: str) -> str:
    numbers = [summary.samples for summary in summaries if summary is not None] or [0]
    low, high = min(numbers), max(numbers)
    text = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return f"{text} ({name})" if name else text


def _cells(summary: Summary | None, scale: float) -> list[str]:
    if summary is None:
        return ["", "", ""]
    return [_number(value / scale) for value in (summary.median_us, summary.p99_us, summary.min_us)]


def _number(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"
