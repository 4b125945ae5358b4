"""``isopod report``: a crash report that was saved, as a person reads it, or as the data that it is."""

from __future__ import annotations

import json

from isopod.cli.screen import Screen
from isopod.runtime import crashfiles


def run(screen: Screen, path: str, *, as_json: bool) -> int:
    """Write the report. Raises ``SpecError`` where there is none at ``path``."""
    report = crashfiles.read(path)
    if as_json:
        screen.line(json.dumps(report, indent=2))
        return 0
    first, *rest = report["text"].splitlines() or [""]
    screen.line(screen.style(first, "bold"))
    for line in rest:
        screen.line(line)
    if isinstance(report.get("time"), str):
        screen.line(f"  at {report['time']}, in the application with pid {report.get('application')}")
    return 0
