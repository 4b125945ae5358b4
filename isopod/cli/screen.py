"""What the command line writes on: one stream, and whether it may be coloured and redrawn.

Everything a subcommand says goes through a ``Screen``, so ``NO_COLOR``, pipes, dumb terminals and streams that cannot
hold a ``✓`` are decided here, once.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import TextIO

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_PLAIN = {"✓": "ok", "✗": "no", "–": "-", "│": "|", "─": "-", "…": "...", "µ": "u", "→": "->", "·": "-"}


class Screen:
    """A stream of lines. ``live``: it may be redrawn (bars). ``colour``: it may be coloured (https://no-color.org)."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = sys.stdout if stream is None else stream
        terminal = self.stream.isatty()
        self.live = terminal and os.environ.get("TERM", "") not in ("", "dumb")
        self.colour = self.live and not os.environ.get("NO_COLOR")
        self.unicode = _holds(self.stream, "".join(_PLAIN) + "█▓▒░")
        self.width = min(max(shutil.get_terminal_size((100, 24)).columns, 60), 100) if terminal else 100

    def line(self, text: str = "") -> None:
        """Write one line, at once: a pipe's reader shall see it when it is true."""
        if not self.unicode:
            for sign, plain in _PLAIN.items():
                text = text.replace(sign, plain)
            text = text.encode("ascii", "replace").decode()
        self.stream.write(f"{text}\n")
        self.stream.flush()

    def style(self, text: str, *names: str) -> str:
        """Return ``text`` in bold, dim or a colour, where the stream shows such."""
        if not self.colour or not text:
            return text
        return f"\x1b[{';'.join(_CODES[name] for name in names)}m{text}\x1b[0m"

    def heading(self, text: str) -> None:
        """Write a line that opens a part."""
        self.line()
        self.line(self.style(text, "bold"))

    def fact(self, name: str, value: str) -> None:
        """Write a fact with its name, wrapped beside it."""
        parts = textwrap.wrap(value, self.width - 16, break_long_words=False, break_on_hyphens=False) or [""]
        for number, part in enumerate(parts):
            label = self.style(("" if number else name).ljust(12), "dim")
            self.line(f"  {label}  {part}")

    def mark(self, good: bool | None) -> str:
        """Return the sign before a fact: it holds, it does not, or (None) it was left out."""
        if good is None:
            return self.style("–", "yellow")
        return self.style("✓", "green") if good else self.style("✗", "red")

    def quote(self, lines: Iterable[str], colour: str) -> None:
        """Write somebody else's words, set off by a bar; what is too long goes on in the next line."""
        width = self.width - 8
        for line in lines:
            indent = line[: len(line) - len(line.lstrip())] + "  "
            for part in textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False) or [""]:
                self.line(f"    {self.style('│', colour)} {part}")


def table(screen: Screen, rows: Sequence[Sequence[str]], *, left: int = 1) -> None:
    """Write rows, the first of which is the head, in columns: the first ``left`` aligned left, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        cells = [
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        text = "  ".join(cells).rstrip()
        screen.line("  " + (screen.style(text, "dim") if number == 0 else text))


def _holds(stream: TextIO, text: str) -> bool:
    encoding = getattr(stream, "encoding", None)  # None: a stream of text in memory, which holds all
    try:
        text.encode(encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def amount(size: int) -> str:
    """Return a number of bytes in the unit that suits it."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def python_here() -> str:
    """Return the Python of this process, as people say it."""
    return f"Python {platform.python_version()}"


def version() -> str:
    """Return the version of isopod that is installed."""
    try:
        return importlib.metadata.version("isopod")
    except importlib.metadata.PackageNotFoundError:  # run from a checkout that nobody installed
        return "unknown"
