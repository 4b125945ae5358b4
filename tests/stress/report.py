"""What happened, as a person reads it, and the same for JSON."""

from __future__ import annotations

import statistics
from collections import Counter
from typing import Any

from isopod.cli.screen import Screen, amount, table
from stress.flatness import BOUNDS
from stress.soak import Soak


def figures(soak: Soak) -> dict[str, Any]:
    """Everything that was counted."""
    ledger, kills, applications = soak.ledger, soak.killer, soak.applications
    flat = soak.flatness.samples if soak.flatness else {}
    return {
        "seconds": round(soak.seconds, 1),
        "calls": ledger.issued,
        "calls_per_second": round(ledger.closed / soak.seconds) if soak.seconds else 0,
        "bytes_sent": sum(one.nbytes for one in _callers(soak)),
        "outcomes": [[kind, outcome, count] for (kind, outcome), count in sorted(ledger.outcomes.items())],
        "sizes": {str(bits): count for bits, count in sorted(_sizes(soak).items())},
        "kills": dict(kills.kills),
        "restarts": dict(soak.restarts),
        "guests": soak.reloader.loads,
        "applications": {
            "killed": applications.killed,
            "orphans": applications.orphans,
            "slowest_seconds": round(applications.slowest, 3),
        },
        "kill_to_error_ms": _times(ledger.detected),
        "kill_to_answer_ms": _times(ledger.recovered),
        "flatness": {name: [value / BOUNDS[name].unit for value in values] for name, values in flat.items()},
        "violated": ledger.violated,
        "violations": ledger.violations,
    }


def show(screen: Screen, soak: Soak) -> None:
    """Tables of it all."""
    found = figures(soak)
    screen.heading(
        f"{found['calls']:,} calls in {found['seconds']:,.0f} s: {found['calls_per_second']:,} a second, "
        f"{amount(found['bytes_sent'])} sent"
    )
    _outcomes(screen, soak.ledger.outcomes)
    screen.heading("Sizes of inputs")
    table(screen, [["up to", "calls"], *([_size(bits), f"{count:,}"] for bits, count in sorted(_sizes(soak).items()))])
    screen.heading("Harm")
    _harm(screen, found)
    if soak.flatness:
        screen.heading("When all is quiet")
        _flat(screen, found["flatness"])


def verdict(screen: Screen, soak: Soak, seed: str, complete: bool) -> None:
    """The last lines: whether everything held."""
    screen.line()
    for line in soak.ledger.violations:
        screen.line(f"{screen.mark(False)} {line}")
    if soak.ledger.violated:
        screen.line(screen.style(f"{soak.ledger.violated:,} violations; --seed {seed}", "red"))
    elif complete:
        screen.line(
            f"{screen.mark(True)} no call was lost, answered twice or wrongly, and nothing was left (seed {seed})"
        )
    if not complete:
        screen.line(screen.style(f"Not finished: this is what there was until then (seed {seed}).", "yellow"))


def _callers(soak: Soak) -> list[Any]:
    return [*soak.callers, *soak.reloader.callers]


def _sizes(soak: Soak) -> Counter[int]:
    return sum((one.sizes for one in _callers(soak)), Counter())


def _size(bits: int) -> str:
    nbytes = 1 << bits if bits else 0
    for unit, scale in (("MB", 1 << 20), ("KB", 1 << 10)):
        if nbytes >= scale:
            return f"{nbytes // scale} {unit}"
    return f"{nbytes} bytes"


def _times(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {"samples": 0}
    ordered = sorted(value * 1e3 for value in seconds)
    p99 = ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    return {"median": statistics.median(ordered), "p99": p99, "max": ordered[-1], "samples": len(ordered)}


def _outcomes(screen: Screen, outcomes: Counter[tuple[str, str]]) -> None:
    kinds = sorted({kind for kind, _ in outcomes})
    names = [name for name, _ in Counter(outcome for _, outcome in outcomes.elements()).most_common()]
    rows = [["", *kinds, "all"]]
    for name in names:
        counts = [outcomes[kind, name] for kind in kinds]
        rows.append([name, *(f"{count:,}" if count else "" for count in counts), f"{sum(counts):,}"])
    table(screen, rows)


def _harm(screen: Screen, found: dict[str, Any]) -> None:
    applications = found["applications"]
    rows = [["", "count", "median ms", "p99 ms", "max ms"]]
    rows += [[f"workers: {name}", f"{count:,}", "", "", ""] for name, count in sorted(found["kills"].items())]
    rows += [[f"restarts of {name}", f"{count:,}", "", "", ""] for name, count in found["restarts"].items()]
    rows.append(["models loaded and closed in mid-call", f"{found['guests']:,}", "", "", ""])
    slowest = f"{applications['slowest_seconds'] * 1e3:,.0f}"
    rows.append(["applications killed, until the last worker is gone", f"{applications['killed']:,}", "", "", slowest])
    for name, key in (
        ("kill, until a waiting caller's error", "kill_to_error_ms"),
        ("kill, until the next answer", "kill_to_answer_ms"),
    ):
        times = found[key]
        if times["samples"]:
            rows.append([name, f"{times['samples']:,}", *(f"{times[part]:,.1f}" for part in ("median", "p99", "max"))])
    table(screen, rows)


def _flat(screen: Screen, flat: dict[str, list[float]]) -> None:
    rows = [["", "first", "last", "max", "samples"]]
    for name, values in flat.items():
        shown = (values[0], values[-1], max(values))
        rows.append([name, *(f"{value:,.1f}" if value % 1 else f"{value:,.0f}" for value in shown), str(len(values))])
    table(screen, rows)
