"""A small grey image as text, for a terminal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BLOCKS = " ░▒▓█"
_LETTERS = " .:+#"


def picture(pixels: NDArray[np.float64], *, blocks: bool) -> list[str]:
    """Return one line a row of ``pixels`` (height, width; 0 is empty, the largest value full), two columns a pixel."""
    shades = _BLOCKS if blocks else _LETTERS
    levels = np.rint(pixels / max(float(np.max(pixels)), 1e-9) * (len(shades) - 1)).astype(int)
    return ["".join(shades[level] * 2 for level in row) for row in levels]
