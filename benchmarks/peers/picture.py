"""The tables as a picture: a line for each peer, a dot for each size. With matplotlib, the extra ``plot``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.run import SIZES, Row

# Of Okabe and Ito: told apart with any kind of colour vision; and the larger the array, the larger the dot.
_COLOURS = ("#56B4E9", "#009E73", "#E69F00", "#D55E00")
_DOTS = (26, 42, 62, 86)
_WEIGHTS = {"isopod": "bold", "peer": "normal", "limit": "normal"}


def draw(rows: Sequence[Row], title: str, path: Path) -> None:
    """Write it in the form that the name ends with. Raises ``ImportError`` without matplotlib."""
    import matplotlib
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(12, 1.6 + 0.29 * len(rows)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    figure.suptitle(title, fontsize=10)
    shown = sorted((row for row in rows if row.figures), key=_rank, reverse=True)
    for axes, what in zip(panels, ("small", "full"), strict=True):
        _panel(axes, shown, what)
    panels[0].set_yticks(range(len(shown)), [row.name for row in shown], fontsize=8)
    for label, row in zip(panels[0].get_yticklabels(), shown, strict=True):
        label.set_fontweight(_WEIGHTS[row.group])
        label.set_color("#777777" if row.group == "limit" else "#000000")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, frameon=False, loc="outside lower center", ncols=len(SIZES))
    with matplotlib.rc_context({"svg.hashsalt": "peers"}):  # the same figures are the same bytes
        figure.savefig(path, dpi=144, metadata={"Date": None} if path.suffix == ".svg" else None)


def _rank(row: Row) -> tuple[bool, float]:
    return row.group == "limit", min(figure.median_us for figure in row.figures.values())


def _panel(axes: Any, rows: Sequence[Row], what: str) -> None:
    axes.set_title("one element back" if what == "small" else "x + 1 back", fontsize=10)
    axes.set_xlabel("µs a call: median, and a line to the minimum", fontsize=8)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
    axes.grid(True, axis="both", color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for size, colour, dot in zip(SIZES, _COLOURS, _DOTS, strict=True):
        found = [
            (place, row.figures[f"{size} {what}"]) for place, row in enumerate(rows) if f"{size} {what}" in row.figures
        ]
        places = [place for place, _ in found]
        medians = [max(figure.median_us, 0.1) for _, figure in found]
        axes.hlines(places, [max(figure.min_us, 0.1) for _, figure in found], medians, color=colour, linewidth=1.2)
        axes.scatter(medians, places, s=dot, color=colour, label=size, zorder=3)
