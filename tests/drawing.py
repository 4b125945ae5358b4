"""For tests that draw: matplotlib keeps the files of its fonts open for good, from the first picture on."""

from __future__ import annotations

import io

import pytest


def open_fonts() -> None:
    """Draw something with every kind of text, so that a census sees none of it as new. Skips without matplotlib."""
    picture = pytest.importorskip("matplotlib.figure", reason="matplotlib is not installed").Figure()
    picture.suptitle("text", weight="bold")
    axes = picture.subplots()
    axes.set_xscale("log")
    axes.set_xlim(1e-6, 1)
    axes.set_title("$10^{-3}$ $x$")
    for form in ("png", "pdf"):  # some of its releases open them once for each
        picture.savefig(io.BytesIO(), format=form)
