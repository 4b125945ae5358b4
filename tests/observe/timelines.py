"""What must hold of every trace file, whatever is in it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

_NS = 1e-3  # microseconds: what rounding to a double may take from a nanosecond, generously


class Timeline:
    """A trace file that has been read and found to be one. ``slices`` by (process, track), in order."""

    def __init__(self, path: Path) -> None:
        text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text("utf-8")
        document = json.loads(text)
        self.about: dict[str, Any] = document["otherData"]["isopod"]
        self.events: list[dict[str, Any]] = document["traceEvents"]
        self.slices: dict[tuple[int, int], list[dict[str, Any]]] = {}
        for event in self.events:
            assert event["ph"] in "MXsfi", event
            if event["ph"] == "X":
                assert event["ts"] >= 0, event
                assert event["dur"] >= 0, event
                self.slices.setdefault((event["pid"], event["tid"]), []).append(event)
        for track in self.slices.values():
            self._nests(track)
        self._arrows_lead_somewhere()

    def processes(self) -> dict[int, str]:
        return self._names("process_name", "pid")

    def threads(self, pid: int) -> list[str]:
        named = (one for one in self.events if one["name"] == "thread_name" and one["pid"] == pid)
        return [one["args"]["name"] for one in named]

    def named(self, name: str) -> list[dict[str, Any]]:
        """Slices and instants of that name."""
        return [event for event in self.events if event["ph"] in "Xi" and event["name"] == name]

    def category(self, category: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event.get("cat") == category]

    def _names(self, what: str, key: str) -> dict[int, str]:
        return {event[key]: event["args"]["name"] for event in self.events if event["name"] == what}

    @staticmethod
    def _nests(track: list[dict[str, Any]]) -> None:
        """What overlaps must lie in one another, and come in that order."""
        open_until: list[float] = []
        for event in sorted(track, key=lambda one: (round(one["ts"], 3), -round(one["dur"], 3))):
            end = event["ts"] + event["dur"]
            while open_until and open_until[-1] <= event["ts"] + _NS:
                open_until.pop()
            assert not open_until or end <= open_until[-1] + _NS, event
            open_until.append(end)

    def _arrows_lead_somewhere(self) -> None:
        begun = {event["id"]: event for event in self.events if event["ph"] == "s"}
        ended = {event["id"]: event for event in self.events if event["ph"] == "f"}
        assert begun.keys() == ended.keys()
        for identity, event in begun.items():
            assert event["ts"] <= ended[identity]["ts"] + _NS
            for end in (event, ended[identity]):
                slices = self.slices[end["pid"], end["tid"]]
                assert any(one["ts"] - _NS <= end["ts"] <= one["ts"] + one["dur"] + _NS for one in slices), end
