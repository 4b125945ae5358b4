"""``isopod compare``: implementations of one problem side by side, as tables, as JSON and as a picture."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from isopod import Comparison, Problem, SpecError
from isopod.cli.progress import Bars, bars
from isopod.cli.screen import Screen, amount, table
from isopod.runtime import pictures
from isopod.runtime.comparison import Comparing, Implementation, collect, limit_of
from isopod.runtime.comparison.differences import Agreement, Mismatch

_STAGES = {
    "resolve": (0.00, 0.05, "resolving"),
    "wait": (0.00, 0.05, "waiting"),
    "download": (0.05, 0.25, "downloading"),
    "install": (0.25, 0.30, "installing"),
    "start": (0.30, 0.35, "loading"),
    "answer": (0.35, 0.60, "comparing"),
    "time": (0.60, 1.00, "timing"),
    "ready": (1.00, 1.00, "done"),
}
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_SAMPLES = 5  # that are named


def run(screen: Screen, arguments: argparse.Namespace) -> int:
    """Compare, tell, and return the exit code. Raises ``IsopodError`` where it cannot begin."""
    problem = None if arguments.problem is None else Problem.from_toml(arguments.problem)
    limit = limit_of(arguments.fail_above)
    if arguments.plot:
        pictures.check(Path(arguments.plot))
    samples = collect(
        arguments.inputs,
        problem,
        stacked=arguments.stacked,
        number=arguments.random,
        seed=arguments.seed,
        sizes=dict(map(_size, arguments.size)),
        cast=arguments.cast,
    )
    result = _run(arguments, Comparing(
        arguments.models, samples, problem=problem, limit=limit, seconds=arguments.seconds, timeout=arguments.timeout
    ))  # fmt: skip
    if arguments.json:
        screen.line(json.dumps(result.to_dict(), indent=2, allow_nan=False))
    else:
        tell(screen, result)
    if arguments.plot:
        where = result.plot(arguments.plot)
        if not arguments.json:
            screen.line(f"picture: {where}")
    if not result.complete:
        return 130
    return 0 if result.passed else 1


def _run(arguments: argparse.Namespace, comparing: Comparing) -> Comparison:
    """Run it with bars on stderr, so that stdout has the result alone. Ctrl-C ends it with what there is."""
    names = [one.name for one in comparing.result.implementations]
    with contextlib.suppress(KeyboardInterrupt), _bars(names, quiet=arguments.json) as shown:
        comparing.progress = lambda name, stage, done, total: shown.tell(name, stage, "", done, total)
        comparing.build_listener = shown.listener
        with comparing:
            comparing.run()
    return comparing.result


@contextlib.contextmanager
def _bars(names: list[str], *, quiet: bool) -> Iterator[Bars]:
    screen = Screen(sys.stderr)
    if quiet and not screen.live:
        yield Bars(screen, names, {})
    else:
        with bars(screen, names, _STAGES) as shown:
            yield shown


def _size(text: str) -> tuple[str, int]:
    symbol, _, size = text.partition("=")
    if not size.isdecimal() or int(size) < 1:
        raise SpecError(f"--size {text}: write a symbol and its size, as batch=4")
    return symbol, int(size)


# ---------------------------------------------------------------------- tables


def tell(screen: Screen, result: Comparison) -> None:
    """Write all of it."""
    what = [result.problem] if result.problem else []
    what.append(f"{result.samples} sample{'' if result.samples == 1 else 's'}")
    screen.heading("Implementations  " + screen.style(", ".join(what), "dim"))
    _table(screen, _costs(screen, result), left=1)
    rows = [row for one in result.implementations for row in _agreements(screen, one)]
    if rows:
        screen.heading(f"Agreement with {result.reference}")
        head = ("", "output", "equal", "beyond" if result.judged else "differ", "max abs", "max rel", "ULP", "NaN, inf")
        _table(screen, [(*head, "tolerance", ""), *rows], left=2)
    _details(screen, result)
    screen.line()
    screen.line(_verdict(screen, result))


def _costs(screen: Screen, result: Comparison) -> list[Sequence[str]]:
    timed = [one.percentile(99) for one in result.implementations]
    scale, unit = (1e3, "ms") if max((value or 0.0 for value in timed), default=0.0) >= 1e4 else (1.0, "µs")
    rows: list[Sequence[str]] = [
        ("", "answered", f"median {unit}", f"p90 {unit}", f"p99 {unit}", f"min {unit}", "memory", "peak", "start", "")
    ]
    for one in result.implementations:
        latencies = [one.percentile(percent) for percent in (50, 90, 99, 0)]
        answered = f"{one.answered} of {result.samples}"
        sizes = [amount(size) if size else "–" for size in (one.rss, one.peak_rss)]
        start = f"{one.start_seconds:.1f} s" if one.start_seconds else "–"
        cells = [one.name, answered, *(_time(value, scale) for value in latencies), *sizes, start]
        rows.append([*cells, screen.mark(not one.failures)])
    return rows


def _agreements(screen: Screen, one: Implementation) -> Iterator[Sequence[str]]:
    for number, item in enumerate(one.agreements):
        yield (
            "" if number else one.name,
            item.output,
            f"{item.equal / item.elements:.1%}" if item.elements else "–",
            f"{item.mismatches:,}",
            _error(item.max_abs),
            _error(item.max_rel),
            "–" if item.max_ulp is None else f"{item.max_ulp:,}" if item.max_ulp < 1e7 else _error(item.max_ulp),
            f"{item.not_finite:,}" if item.max_abs is not None or item.not_finite else "–",
            str(item.tolerance) if item.tolerance else "–",
            screen.mark(False if item.failed else None if item.tolerance is None else True),
        )


def _details(screen: Screen, result: Comparison) -> None:
    """What went wrong, and where."""
    for one in result.implementations:
        lines = list(_failures(one))
        for item in one.agreements:
            lines += [f"{item.output}: {what}" for what in item.structure]
            if item.failed or (item.tolerance is None and item.mismatches):
                lines += _shown(item)
        if lines:
            screen.heading(one.name)
            bad = one.failures or any(item.failed for item in one.agreements)
            screen.quote(lines, "red" if bad else "yellow")


def _failures(one: Implementation) -> Iterator[str]:
    """The first of each kind, and where else."""
    for what in dict.fromkeys(failure.what for failure in one.failures):
        first, *others = [failure for failure in one.failures if failure.what == what]
        yield str(first)
        if others:
            where = ", ".join(failure.sample for failure in others[:_SAMPLES])
            more = f" and {len(others) - _SAMPLES} more" if len(others) > _SAMPLES else ""
            yield f"  also on {where}{more}"


def _shown(item: Agreement) -> list[str]:
    """The first mismatches of an output."""
    more = item.mismatches - len(item.first)
    lines = [f"{item.output}{_place(one)}: {_value(one.value)}, not {_value(one.reference)}" for one in item.first]
    return [*lines, f"... and {more:,} more"] if more > 0 and lines else lines


def _place(one: Mismatch) -> str:
    index = f"[{', '.join(map(str, one.index))}]" if one.index else ""
    return f"{index} of {one.sample}"


def _verdict(screen: Screen, result: Comparison) -> str:
    if not result.complete:
        return screen.style("Interrupted: these are the figures until then.", "yellow")
    wrong = [one.name for one in result.implementations if not one.passed]
    if wrong:
        return f"{screen.mark(False)} not as it should be: {', '.join(wrong)}"
    if result.judged:
        return f"{screen.mark(True)} all outputs are within their tolerance"
    return (
        f"{screen.mark(None)} nothing was judged: neither the problem nor --fail-above says how far they may be apart"
    )


def _time(value: float | None, scale: float) -> str:
    if value is None:
        return "–"
    value /= scale
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _error(value: float | None) -> str:
    if value is None:
        return "–"
    return "0" if value == 0 else f"{value:.2g}"


def _value(value: object) -> str:
    return f"{value:.7g}" if isinstance(value, float) else f"{value!r:.60}"


def _table(screen: Screen, rows: Sequence[Sequence[str]], *, left: int) -> None:
    """With rich, which fits it into the terminal; plainly where that is not installed."""
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        table(screen, [[_COLOUR.sub("", cell) for cell in row] for row in rows], left=left)
        return
    if not screen.unicode:
        table(screen, [[_COLOUR.sub("", cell) for cell in row] for row in rows], left=left)
        return
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim" if screen.colour else "")
    for number, head in enumerate(rows[0]):
        made.add_column(head, justify="left" if number < left else "right", no_wrap=number > left, overflow="fold")
    for row in rows[1:]:
        made.add_row(*map(Text.from_ansi, row))
    colours: Literal["standard"] | None = "standard" if screen.colour else None
    console = Console(width=screen.width - 2, highlight=False, force_terminal=screen.colour, color_system=colours)
    with console.capture() as captured:
        console.print(made)
    for line in captured.get().splitlines():
        screen.line("  " + line.rstrip())
