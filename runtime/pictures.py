"""Pictures of results, with matplotlib (the extra ``plot``): what all of them have in common."""

from __future__ import annotations

import html
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from isopod.ipc.errors import SpecError

_FORMS = (".html", ".pdf", ".png", ".svg")
# Of Okabe and Ito: told apart with any kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLE = """\
body { font: 15px/1.45 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
svg { width: 100%; height: auto }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .3rem .9rem; text-align: right; border-bottom: 1px solid #ddd }
td:first-child, th:first-child, td.text, th.text { text-align: left }
caption { text-align: left; font-weight: bold; padding: .3rem 0 }
"""


def check(path: Path) -> None:
    """Before the work is done: whether ``write`` can do it. Raises ``SpecError``."""
    if path.suffix.lower() not in _FORMS:
        raise SpecError(f"{path}: a picture ends with one of {', '.join(_FORMS)}")
    if not path.absolute().parent.is_dir():
        raise SpecError(f"{path} cannot be written: there is no folder {path.absolute().parent}")
    new_figure()


def new_figure(**options: Any) -> Any:
    """A figure of matplotlib. Raises ``SpecError`` where that is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise SpecError("a picture needs matplotlib: pip install 'isopod[plot]'") from None
    return Figure(layout="constrained", **options)


def write(path: Path, draw: Callable[[], Any], page: Callable[[str], str]) -> Path:
    """Write a figure in the form that the name ends with. ``page`` makes an HTML page around it as SVG.

    Raises ``SpecError``.
    """
    check(path)
    form = path.suffix.lower()[1:]
    drawn = io.BytesIO()
    draw().savefig(drawn, format="svg" if form == "html" else form, dpi=144)
    data = drawn.getvalue()
    if form == "html":
        text = data.decode()
        data = page(text[text.index("<svg") :]).encode()
    try:
        path.write_bytes(data)
    except OSError as error:
        raise SpecError(f"{path} cannot be written: {error.strerror}") from error
    return path


def html_page(title: str, body: str) -> str:
    """One file that needs no other."""
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        f"<style>\n{_STYLE}</style>\n{body}\n</html>\n"
    )


def plain_axes(axes: Any) -> None:
    """A light grid behind, and no frame."""
    axes.grid(True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def legend_below(axes: Any, **options: Any) -> None:
    """Where it hides no curve."""
    settings = {"fontsize": 8, "frameon": False, "loc": "upper center", "bbox_to_anchor": (0.5, -0.13), "ncols": 2}
    axes.legend(**{**settings, **options})


def three(value: float) -> str:
    """To three digits, without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
