"""One line on stderr: what is being done, and about how much longer it all takes."""

from __future__ import annotations

import sys


class Progress:
    """``total`` is in seconds, planned; each step says how many of them it takes."""

    def __init__(self, total: float, doing: str = "measuring") -> None:
        self._left = total
        self._doing = doing
        self._live = sys.stderr.isatty()

    def step(self, what: str, seconds: float) -> None:
        text = f"{self._doing} {what}, about {max(self._left, 0):.0f} s left"
        sys.stderr.write(f"\r\x1b[K{text}" if self._live else f"{text}\n")
        sys.stderr.flush()
        self._left -= seconds

    def clear(self) -> None:
        """Leave the line to what is printed next."""
        if self._live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
