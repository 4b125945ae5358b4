"""A comparison as a picture: how the errors are distributed, and the latencies. With matplotlib, the extra ``plot``."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import numpy as np

from isopod.runtime import pictures
from isopod.runtime.comparison.results import Comparison, Implementation
from isopod.runtime.pictures import COLOURS, html_page, legend_below, plain_axes, three

_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (2, 1.5)), (0, (7, 2, 1.5, 2)))
_MOST_CURVES = 12


def write(comparison: Comparison, path: Path) -> Path:
    """Write it in the form that the name ends with. Raises ``SpecError``."""
    return pictures.write(path, lambda: _draw(comparison), lambda drawing: _page(comparison, drawing))


def _draw(comparison: Comparison) -> Any:
    figure = pictures.new_figure(figsize=(11, 5.2))
    errors, latencies = figure.subplots(1, 2)
    title = comparison.problem or "comparison"
    inputs = f"{comparison.samples} sample{'' if comparison.samples == 1 else 's'}"
    figure.suptitle(f"{title}: {inputs}{'' if comparison.complete else ', interrupted'}", fontsize=12, weight="bold")
    _draw_errors(errors, comparison)
    _draw_latencies(latencies, comparison)
    for axes in (errors, latencies):
        axes.set_ylim(-0.02, 1.02)
        axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        plain_axes(axes)
    return figure


def _draw_errors(axes: Any, comparison: Comparison) -> None:
    """The share of elements up to each error. A curve begins at the share of those that are equal."""
    axes.set_title(f"absolute error against {comparison.reference}", fontsize=10)
    axes.set_xlabel("absolute error")
    axes.set_ylabel("share of elements")
    numbered = {one.name: number for number, one in enumerate(comparison.implementations)}
    found = [(one, item) for one in comparison.implementations for item in one.agreements if item.errors]
    curves = [(one, item, np.sort(np.asarray(item.errors))) for one, item in found[:_MOST_CURVES]]
    some = [errors[errors > 0] for _, _, errors in curves]
    positive = np.concatenate(some) if some else np.zeros(0)
    if not positive.size:
        axes.set_xticks([])
        axes.text(0.5, 0.5, "no errors" if curves else "nothing to compare", ha="center", transform=axes.transAxes)
        return
    low, high = np.min(positive) / 3, np.max(positive) * 3
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    outputs = list(dict.fromkeys(item.output for _, item in found))
    for one, item, errors in curves:
        above = errors[errors > 0]
        equal = 1 - above.size / errors.size
        label = f"{one.name}: {item.output}" if len(outputs) > 1 else one.name
        label += " (all equal)" if not above.size else f" ({equal:.0%} equal)" if equal >= 0.005 else ""
        share = equal + np.arange(1, above.size + 1) / errors.size
        curve = ([low, *above, high], [equal, *share, 1.0]) if above.size else ([], [])
        dashes = _DASHES[outputs.index(item.output) % len(_DASHES)]
        colour = COLOURS[numbered[one.name] % len(COLOURS)]
        axes.step(*curve, where="post", label=label, linewidth=1.8, color=colour, linestyle=dashes)
    limits = {item.tolerance.atol: item.tolerance for _, item in found if item.tolerance and item.tolerance.atol}
    for limit in limits:
        if low < limit < high:
            axes.axvline(limit, color="#777777", linewidth=0.9, linestyle=":")
            axes.annotate(
                f"atol {limit:g}",
                (limit, 0.02),
                (-4, 0),
                textcoords="offset points",
                fontsize=8,
                color="#555555",
                rotation=90,
                ha="right",
            )
    legend_below(axes)


def _draw_latencies(axes: Any, comparison: Comparison) -> None:
    axes.set_title("latency of a call", fontsize=10)
    axes.set_ylabel("share of calls")
    timed = [(number, one) for number, one in enumerate(comparison.implementations) if one.latencies]
    if not timed:
        axes.set_xticks([])
        axes.text(0.5, 0.5, "nothing was timed", ha="center", transform=axes.transAxes)
        return
    slowest = max(one.percentile(99) or 0.0 for _, one in timed)
    scale, unit = (1e3, "µs") if slowest < 1e3 else (1e6, "ms") if slowest < 1e6 else (1e9, "s")
    axes.set_xlabel(unit)
    axes.set_xscale("log")
    for number, one in timed:
        times = np.sort(np.asarray(one.latencies)) / scale
        share = np.arange(1, times.size + 1) / times.size
        label = f"{one.name} (median {three(np.median(times))} {unit})"
        axes.step(times, share, where="post", label=label, linewidth=1.8, color=COLOURS[number % len(COLOURS)])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: "")
    legend_below(axes)


def _page(comparison: Comparison, drawing: str) -> str:
    """One file that needs no other: the picture and the figures."""
    rows = "\n".join(_row(one) for one in comparison.implementations)
    reference = html.escape(comparison.reference)
    head = f"implementation<th>median µs<th>p99 µs<th>memory MB<th class=text>agreement with {reference}"
    return html_page(comparison.problem or "comparison", f"{drawing}\n<table><tr><th>{head}</tr>\n{rows}\n</table>")


def _row(one: Implementation) -> str:
    figures = [_figure(one.percentile(50)), _figure(one.percentile(99)), f"{one.rss / 1e6:.0f}" if one.rss else ""]
    told = [str(failure) for failure in one.failures[:3]]
    told += [
        f"{item.output}: {'; '.join(item.structure) or f'{item.mismatches:,} of {item.elements:,} differ'}"
        + ("" if item.max_abs is None else f", max error {item.max_abs:.3g}")
        for item in one.agreements
    ]
    cells = [one.name, *figures, "\n".join(told)]
    *plain, told_of = (html.escape(cell).replace("\n", "<br>") for cell in cells)
    return "<tr>" + "".join(f"<td>{cell}" for cell in plain) + f"<td class=text>{told_of}</tr>"


def _figure(value: float | None) -> str:
    return "" if value is None else three(value)
