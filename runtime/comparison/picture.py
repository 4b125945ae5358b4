"""A comparison as a picture: how the errors are distributed, and the latencies. With matplotlib, the extra ``plot``."""

from __future__ import annotations

import html
import io
from pathlib import Path
from typing import Any

import numpy as np

from isopod.ipc.errors import SpecError
from isopod.runtime.comparison.results import Comparison, Implementation

_FORMS = (".html", ".pdf", ".png", ".svg")
# Of Okabe and Ito: told apart with any kind of colour vision, and on paper by the dashes.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (2, 1.5)), (0, (7, 2, 1.5, 2)))
_MOST_CURVES = 12


def write(comparison: Comparison, path: Path) -> Path:
    """Write it in the form that the name ends with. Raises ``SpecError``."""
    if path.suffix.lower() not in _FORMS:
        raise SpecError(f"{path}: a picture ends with one of {', '.join(_FORMS)}")
    form = path.suffix.lower()[1:]
    drawn = io.BytesIO()
    _draw(comparison).savefig(drawn, format="svg" if form == "html" else form, dpi=144)
    data = drawn.getvalue()
    if form == "html":
        data = _page(comparison, data.decode()).encode()
    try:
        path.write_bytes(data)
    except OSError as error:
        raise SpecError(f"{path} cannot be written: {error.strerror}") from error
    return path


def check(path: Path) -> None:
    """Before the work is done: whether ``write`` can do it. Raises ``SpecError``."""
    if path.suffix.lower() not in _FORMS:
        raise SpecError(f"{path}: a picture ends with one of {', '.join(_FORMS)}")
    if not path.absolute().parent.is_dir():
        raise SpecError(f"{path} cannot be written: there is no folder {path.absolute().parent}")
    _library()


def _library() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise SpecError("a picture needs matplotlib: pip install 'isopod[plot]'") from None
    return Figure


def _draw(comparison: Comparison) -> Any:
    figure = _library()(figsize=(11, 5.2), layout="constrained")
    errors, latencies = figure.subplots(1, 2)
    title = comparison.problem or "comparison"
    inputs = f"{comparison.samples} sample{'' if comparison.samples == 1 else 's'}"
    figure.suptitle(f"{title}: {inputs}{'' if comparison.complete else ', interrupted'}", fontsize=12, weight="bold")
    _draw_errors(errors, comparison)
    _draw_latencies(latencies, comparison)
    for axes in (errors, latencies):
        axes.set_ylim(-0.02, 1.02)
        axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        axes.grid(True, color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
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
    low, high = positive.min() / 3, positive.max() * 3
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
        colour = _COLOURS[numbered[one.name] % len(_COLOURS)]
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
    _legend(axes)


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
        label = f"{one.name} (median {_three(np.median(times))} {unit})"
        axes.step(times, share, where="post", label=label, linewidth=1.8, color=_COLOURS[number % len(_COLOURS)])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: "")
    _legend(axes)


def _legend(axes: Any) -> None:
    """Below, where it hides no curve."""
    axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)


def _three(value: float) -> str:
    """To three digits, without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _page(comparison: Comparison, drawing: str) -> str:
    """One file that needs no other: the picture and the figures."""
    svg = drawing[drawing.index("<svg") :]
    rows = "\n".join(_row(one) for one in comparison.implementations)
    reference = html.escape(comparison.reference)
    title = html.escape(comparison.problem or "comparison")
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
svg {{ width: 100%; height: auto }}
table {{ border-collapse: collapse }}
td, th {{ padding: .3rem .9rem; text-align: right; border-bottom: 1px solid #ddd }}
td:first-child, th:first-child, td:last-child, th:last-child {{ text-align: left }}
</style>
{svg}
<table><tr><th>implementation<th>median µs<th>p99 µs<th>memory MB<th>agreement with {reference}</tr>
{rows}
</table></html>
"""


def _row(one: Implementation) -> str:
    figures = [_figure(one.percentile(50)), _figure(one.percentile(99)), f"{one.rss / 1e6:.0f}" if one.rss else ""]
    told = [str(failure) for failure in one.failures[:3]]
    told += [
        f"{item.output}: {'; '.join(item.structure) or f'{item.mismatches:,} of {item.elements:,} differ'}"
        + ("" if item.max_abs is None else f", max error {item.max_abs:.3g}")
        for item in one.agreements
    ]
    cells = [one.name, *figures, "\n".join(told)]
    return "<tr>" + "".join(f"<td>{html.escape(cell).replace(chr(10), '<br>')}" for cell in cells) + "</tr>"


def _figure(value: float | None) -> str:
    return "" if value is None else _three(value)
