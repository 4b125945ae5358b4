"""The table at the end of a demo: what each model did, how long a call took, and what memory it holds."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil

import isopod
from isopod.cli.screen import Screen, amount, table


@dataclass(frozen=True)
class Entry:
    """One line: a model, the Python it runs on, its figures, and what else the demo has to say of it."""

    name: str
    python: str
    stats: isopod.Stats
    uses: str = ""
    error: float = 0.0


# ``isopod`` is what a call takes beyond the model's own computing, at the median.
_COLUMNS: dict[str, Callable[[Entry], str]] = {
    "uses": lambda entry: entry.uses,
    "error": lambda entry: f"{entry.error:.0e}",
    "calls": lambda entry: str(entry.stats.calls),
    "a call": lambda entry: microseconds(entry.stats.latency.median_us),
    "isopod": lambda entry: microseconds(max(entry.stats.latency.median_us - entry.stats.compute.median_us, 0.0)),
    "memory": lambda entry: amount(entry.stats.rss_bytes),
    "crashes": lambda entry: str(entry.stats.crashes),
    "start": lambda entry: f"{entry.stats.start_seconds:.1f} s",
}


def bill(screen: Screen, entries: Sequence[Entry], columns: Sequence[str]) -> None:
    """Write the table, with the columns that are named, and a last line for the application itself."""
    rows: list[Sequence[str]] = [("", "Python", *columns)]
    rows += [(entry.name, entry.python, *(_COLUMNS[column](entry) for column in columns)) for entry in entries]
    own = amount(psutil.Process().memory_info().rss)
    rest = [own if column == "memory" else "" for column in columns]
    rows.append(("application", platform.python_version(), *rest))
    table(screen, rows, left=3 if columns[0] == "uses" else 2)


def microseconds(value: float) -> str:
    """Return a time in the unit that suits it."""
    return f"{value / 1000:.1f} ms" if value >= 1000 else f"{value:.0f} µs"
