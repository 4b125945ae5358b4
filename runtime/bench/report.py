"""A benchmark as a picture, and as a page with its figures: latency by size, distribution, phases, and throughput."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isopod.runtime import pictures
from isopod.runtime.bench.inputs import amount
from isopod.runtime.bench.results import ELSEWHERE, IN_PROCESS, PERCENTILES, PLACED, PLAIN, Benchmark, Series, in_order
from isopod.runtime.observe.phases import PHASES, label
from isopod.runtime.pictures import COLOURS, legend_below, plain_axes, three

_WHO = {
    IN_PROCESS: COLOURS[2], PLAIN: COLOURS[0], PLACED: COLOURS[5],
    ELSEWHERE["latency"]: COLOURS[1], ELSEWHERE["throughput"]: COLOURS[3],
}  # fmt: skip
# A phase has the colour of whoever works at it, in shades: callers blue, on the way grey, workers orange; the model
# itself is green, as it is in process.
_SHADES = {
    "caller": ("#08519c", "#3182bd", "#6baed6", "#9ecae1", "#c6dbef"),
    "both": ("#525252", "#8c8c8c", "#bdbdbd"),
    "worker": ("#a63603", COLOURS[2], "#fdae6b"),
}


def write(result: Benchmark, path: Path) -> Path:
    """Write it in the form that the name ends with. Raises ``SpecError``."""
    return pictures.write(path, lambda: _draw(result), lambda drawing: _page(result, drawing))


# ---------------------------------------------------------------------- plots


def _draw(result: Benchmark) -> Any:
    figure = pictures.new_figure(figsize=(12, 9.5))
    (sizes, distribution), (phases, callers) = figure.subplots(2, 2)
    figure.suptitle(f"{result.name}{'' if result.complete else ', interrupted'}", fontsize=13, weight="bold")
    _draw_sizes(sizes, result)
    _draw_distribution(distribution, result)
    _draw_phases(phases, result)
    _draw_callers(callers, result)
    for axes in (sizes, distribution, phases, callers):
        plain_axes(axes)
    return figure


def _empty(axes: Any) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(0.5, 0.5, "not measured", ha="center", transform=axes.transAxes)


def _draw_sizes(axes: Any, result: Benchmark) -> None:
    """Medians by size, with the range from the 10th to the 90th percentile; bars, where there is one size."""
    axes.set_title("latency by size of the inputs, back to back", fontsize=10)
    found = result.some("back to back")
    if not found:
        _empty(axes)
        return
    scale, unit = _unit(one.percentile(90) for one in found)
    many = len({one.size for one in found}) > 1
    for number, who in enumerate(in_order([one.who for one in found])):
        series = [one for one in found if one.who == who]
        medians, low, high = ([one.percentile(p) / scale for one in series] for p in (50, 10, 90))
        colour = _WHO[who]
        if many:
            at = [max(1, one.nbytes) for one in series]
            axes.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(at, medians, "o-", color=colour, label=who, linewidth=1.8, markersize=4)
        else:
            error = [[medians[0] - low[0]], [high[0] - medians[0]]]
            axes.barh([number], medians, color=colour, height=0.5, xerr=error, error_kw={"capsize": 4, "linewidth": 1})
            axes.annotate(f"{three(medians[0])} {unit}", (high[0], number), (6, 0), textcoords="offset points",
                          va="center", fontsize=9)  # fmt: skip
    if many:
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel("inputs")
        axes.set_ylabel(f"{unit}: median, 10 % to 90 %")
        axes.xaxis.set_major_formatter(lambda size, _: amount(round(size)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        legend_below(axes, ncols=3)
    else:
        names = in_order([one.who for one in found])
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlim(0, max(one.percentile(90) for one in found) / scale * 1.25)
        axes.set_xlabel(f"{unit}: median, 10 % to 90 %, {found[0].size}")


def _draw_distribution(axes: Any, result: Benchmark) -> None:
    """The share of calls that took up to so long, with the smallest inputs."""
    size = next((one.size for one in result.some("back to back")), "")
    axes.set_title(f"distribution of latencies, {size}", fontsize=10)
    found = [*result.some("back to back", size=size), *result.some("paced", size=size)]
    if not found:
        _empty(axes)
        return
    scale, unit = _unit(one.percentile(50) for one in found)
    for one in found:
        times = np.sort(np.asarray(one.samples)) / 1e3 / scale
        share = np.arange(1, times.size + 1) / times.size
        dashes = "-" if one.kind == "back to back" else (0, (4, 2))
        text = one.who if one.kind == "back to back" else f"{one.who}, paced"
        axes.step(times, share, where="post", color=_WHO[one.who], linestyle=dashes, linewidth=1.6, label=text)
    axes.set_xscale("log")
    axes.set_xlim(max(1e-3, min(min(one.samples) for one in found) / 1e3 / scale / 1.5),
                  max(one.percentile(99.5) for one in found) / scale * 1.3)  # fmt: skip
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel(unit)
    axes.set_ylabel("share of calls")
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    legend_below(axes, ncols=3)


def breakdowns(result: Benchmark) -> list[tuple[str, Series]]:
    """The series of isopod with ordinary arrays that have phases, and what they are called."""
    found = [(one.size, one) for one in result.some("back to back", PLAIN)]
    found += [("paced", one) for one in result.some("paced", PLAIN)]
    found += [(f"{one.callers} callers", one) for one in result.some("callers", PLAIN) if one.callers > 1]
    return [(name, one) for name, one in found if one.spans]


def _draw_phases(axes: Any, result: Benchmark) -> None:
    """Bars of a typical call, each as long as the call, in shares of it where they are too different."""
    axes.set_title("where the time of a call goes (mean of the middle half)", fontsize=10)
    found = breakdowns(result)
    if not found:
        _empty(axes)
        return
    totals = [sum(one.typical().values()) for _, one in found]
    shares = max(totals) > 8 * min(totals)
    scale, unit = (1.0, "share of the call") if shares else _unit(totals)
    left = np.zeros(len(found))
    used = {"caller": 0, "both": 0, "worker": 0}
    for phase in PHASES:
        colour = _SHADES[phase.side][used[phase.side] % len(_SHADES[phase.side])]
        used[phase.side] += 1
        widths = np.array([one.typical()[phase.name] for _, one in found])
        widths = widths / totals * 100 if shares else widths / scale
        axes.barh(range(len(found)), widths, left=left, color=colour, height=0.62, label=label(phase.name))
        left += widths
    for number, (total, end) in enumerate(zip(totals, left, strict=True)):
        size, of = _unit([total])
        axes.annotate(f"{three(total / size)} {of}", (end, number), (4, 0), textcoords="offset points", va="center",
                      fontsize=8)  # fmt: skip
    axes.set_yticks(range(len(found)), [name for name, _ in found])
    axes.invert_yaxis()
    axes.set_xlim(0, max(left) * 1.17)
    axes.set_xlabel("% of the call" if shares else unit)
    legend_below(axes, ncols=6)


def _draw_callers(axes: Any, result: Benchmark) -> None:
    axes.set_title("throughput by callers at once", fontsize=10)
    found = result.some("callers")
    if not found:
        _empty(axes)
        return
    axes.plot([one.callers for one in found], [one.rate for one in found], "o-", color=_WHO[PLAIN], linewidth=1.8,
              label=PLAIN)  # fmt: skip
    for one in found:
        axes.annotate(three(one.rate), (one.callers, one.rate), (0, 7), textcoords="offset points", ha="center",
                      fontsize=8)  # fmt: skip
    axes.set_xticks([one.callers for one in found])
    axes.set_ylim(0, max(one.rate for one in found) * 1.18)
    axes.set_xlabel(f"threads that call at once, {found[0].size}")
    axes.set_ylabel("calls a second")
    axes.yaxis.set_major_formatter(lambda rate, _: f"{rate:,.0f}" if rate >= 10 else f"{rate:g}")


def _unit(microseconds: Iterable[float]) -> tuple[float, str]:
    longest = max(microseconds, default=0.0)
    return (1.0, "µs") if longest < 2e3 else (1e3, "ms") if longest < 2e6 else (1e6, "s")


# ---------------------------------------------------------------------- the page


def _page(result: Benchmark, drawing: str) -> str:
    warning = "" if result.complete else "<p><strong>Interrupted: these are the figures until then.</strong>"
    facts = [*result.model.items(), *(("inputs", text) for text in result.inputs.values()), *result.facts.items()]
    parts = [
        f"<h1>{html.escape(result.name)}</h1>", warning, drawing,
        _latencies(result), _phase_table(result), _caller_table(result),
        _table("what was measured, and where", ("", ""), facts, text=2),
        *(f"<p>{html.escape(note)}" for note in result.notes),
    ]  # fmt: skip
    return pictures.html_page(f"isopod bench: {result.name}", "\n".join(filter(None, parts)))


def _latencies(result: Benchmark) -> str:
    rows = [
        (one.size, one.kind, one.who, *(three(one.percentile(p)) for p in PERCENTILES),
         three(min(one.samples) / 1e3), f"{len(one.samples):,}")
        for one in (*result.some("back to back"), *result.some("paced"))
    ]  # fmt: skip
    return _table("latency, µs", ("inputs", "", "", "median", "p90", "p99", "min", "calls"), rows, text=3)


def _phase_table(result: Benchmark) -> str:
    found = breakdowns(result)
    if not found:
        return ""
    rows = []
    typical = [one.typical() for _, one in found]
    for phase in PHASES:
        rows.append((label(phase.name), *(f"{one[phase.name]:.1f}" for one in typical), phase.text))
    rows.append(("all of it", *(f"{sum(one.values()):.1f}" for one in typical), ""))
    return _table("where the time of a call goes: µs, means of the middle half of the calls",
                  ("phase", *(name for name, _ in found), "what it is"), rows, last_is_text=True)  # fmt: skip


def _caller_table(result: Benchmark) -> str:
    rows = [
        (str(one.callers), three(one.rate), *(three(one.percentile(p)) for p in PERCENTILES))
        for one in result.some("callers")
    ]
    return _table("callers at once", ("callers", "calls a second", "median µs", "p90 µs", "p99 µs"), rows)


def _table(
    caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], *, text: int = 1, last_is_text: bool = False
) -> str:
    """``text``: how many columns, from the left, are words and not numbers."""
    if not rows:
        return ""

    def cells(row: Sequence[str], tag: str) -> str:
        last = len(row) - 1
        return "".join(
            f"<{tag}{' class=text' if n < text or (last_is_text and n == last) else ''}>{html.escape(cell)}"
            for n, cell in enumerate(row)
        )

    body = "\n".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f"<table><caption>{html.escape(caption)}</caption><tr>{cells(head, 'th')}</tr>\n{body}\n</table>"
