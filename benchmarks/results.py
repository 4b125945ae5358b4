"""What has been measured so far. A run that is interrupted prints what is here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.measure import Summary


@dataclass(frozen=True)
class Key:
    """What a figure is of. ``where`` is a placement, ``what`` a size or a phase, ``who`` the contender."""

    benchmark: str
    where: str
    what: str
    who: str


class Results:
    """Samples in nanoseconds by key; later passes add to earlier ones."""

    def __init__(self) -> None:
        self._samples: dict[Key, list[int]] = {}
        self._notes: dict[str, list[str]] = {}

    def add(self, key: Key, nanoseconds: Sequence[int]) -> None:
        self._samples.setdefault(key, []).extend(nanoseconds)

    def divide(self, key: Key, parts: int) -> None:
        """What was measured of a whole is wanted of each of its parts."""
        self._samples[key] = [sample // parts for sample in self._samples[key]]

    def get(self, benchmark: str, where: str, what: str, who: str) -> Summary | None:
        """The summary of a figure, or None where it was not measured."""
        samples = self._samples.get(Key(benchmark, where, what, who))
        return Summary.of(samples) if samples else None

    def values(self, benchmark: str, field: str) -> list[str]:
        """What a field of the keys of one benchmark holds, in the order in which it was measured."""
        return list(dict.fromkeys(getattr(key, field) for key in self._samples if key.benchmark == benchmark))

    def note(self, benchmark: str, text: str) -> None:
        """Something that is to be read with the figures of a benchmark: what was left out, and why."""
        self._notes.setdefault(benchmark, []).append(text)

    def notes(self, benchmark: str) -> list[str]:
        return self._notes.get(benchmark, [])

    def rows(self) -> list[dict[str, Any]]:
        """Everything, for JSON."""
        return [{**asdict(key), **asdict(Summary.of(samples))} for key, samples in self._samples.items() if samples]
