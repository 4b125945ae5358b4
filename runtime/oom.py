"""Whether the kernel ended a worker because memory ran out: what the machine's own counters and the last lines say.

A SIGKILL has no sender. The kernel counts the processes that it kills for want of memory, though, for each control
group and for the whole machine, and raises the count before it sends the signal. So the count of now against that of
the worker's start is evidence; how much memory is left, and what the worker printed, are only hints.

``parse_…`` take text and return values. A ``Gauge`` reads a few small files when a worker starts and when it was
killed; what cannot be read counts as not seen, and nothing here raises.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_COMPLAINT = re.compile(r"\bMemoryError\b|Cannot allocate memory|std::bad_alloc|\bout of memory\b", re.IGNORECASE)
_LAST_LINES = 10
_MAX_QUOTED = 160
_SCARCE = 1.25  # what it had taken, against what is free without it
_UNLIMITED = 1 << 60  # bytes: version 1 writes "no limit" as a very large number

# How many kills of each counter were put down to a worker of ours: another worker's end is not this one's. Deaths are
# looked at on the monitor thread alone, one after another.
_explained: dict[Path, int] = {}


@dataclass(frozen=True)
class Finding:
    """What was seen, in words; ``killed`` where it shows that the kernel's out-of-memory killer ended the worker."""

    text: str = ""
    killed: bool = False


def parse_counter(text: str, key: str) -> int | None:
    """The number after ``key`` in lines of ``key number``: memory.events, memory.oom_control, vmstat, meminfo."""
    for line in text.splitlines():
        name, _, rest = line.partition(" ")
        if name.rstrip(":") == key:
            return parse_number(rest)
    return None


def parse_number(text: str) -> int | None:
    words = text.split()
    return int(words[0]) if words and words[0].isdecimal() else None


def parse_groups(text: str) -> tuple[str | None, str | None]:
    """From the text of ``/proc/<pid>/cgroup``: the process's memory group of version 1, and its group of version 2."""
    first: str | None = None
    second: str | None = None
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(","):
            first = path
        elif number == "0" and not controllers:
            second = path
    return first, second


def complaint_in(lines: Sequence[str]) -> str:
    """The latest of a worker's last lines that says that memory could not be had; "" if none does."""
    for line in reversed(lines[-_LAST_LINES:]):
        if _COMPLAINT.search(line):
            return line.strip()[:_MAX_QUOTED]
    return ""


class Gauge:
    """The counters that matter for one worker, from its start on. ``root`` is where ``/proc`` and ``/sys`` lie."""

    def __init__(self, pid: int, root: Path = Path("/")) -> None:
        self._root = root
        self._group: Path | None = None
        self._counter: Path | None = None
        self._before = self._explained = 0
        for group, counter in self._candidates(pid):
            count = parse_counter(_read(counter), "oom_kill")
            if count is not None:
                self._group, self._counter, self._before = group, counter, count
                self._explained = _explained.get(counter, 0)
                return

    def finding(self, status: int | None, ours: bool, peak_rss: int, last_lines: Sequence[str]) -> Finding:
        """What speaks for a want of memory, after a death. ``ours``: we ended it. Sizes in bytes."""
        if status == -signal.SIGKILL and not ours:
            kills = self._unexplained_kills()
            if kills:
                where = "in its control group" if self._group else "on this machine"
                count = "a process" if kills == 1 else f"{kills} processes"
                return Finding(f"the kernel killed {count} {where} for want of memory while it ran", killed=True)
            free = self._free()
            if peak_rss and free is not None and free < _SCARCE * peak_rss:
                text = f"memory was scarce: it had taken {_size(peak_rss)}, and without it {_size(free)} are free"
                return Finding(text)
        said = complaint_in(last_lines)
        return Finding(f"it printed: {said}") if said else Finding()

    def _candidates(self, pid: int) -> list[tuple[Path | None, Path]]:
        """(group, counter), the most telling first. In a container the group's path is often the host's, and what can
        be seen of it lies at the top."""
        first, second = parse_groups(_read(self._root / "proc" / str(pid) / "cgroup"))
        top = self._root / "sys/fs/cgroup"
        found: list[tuple[Path | None, Path]] = []
        if first is not None:
            for group in (top / "memory" / first.lstrip("/"), top / "memory"):
                found.append((group, group / "memory.oom_control"))
        if second is not None:
            for group in (top / second.lstrip("/"), top):
                found.append((group, group / "memory.events"))
        return [*found, (None, self._root / "proc/vmstat")]

    def _unexplained_kills(self) -> int:
        if self._counter is None:
            return 0
        count = parse_counter(_read(self._counter), "oom_kill") or 0
        others = _explained.get(self._counter, 0) - self._explained
        kills = count - self._before - others
        if kills > 0:
            _explained[self._counter] = _explained.get(self._counter, 0) + 1
        return max(0, kills)

    def _free(self) -> int | None:
        """Bytes that the worker's group, or the machine, could still hand out; None where nothing tells."""
        kilobytes = parse_counter(_read(self._root / "proc/meminfo"), "MemAvailable")
        known = [] if kilobytes is None else [kilobytes * 1024]
        if self._group is not None:
            names = (
                ("memory.max", "memory.current", "file"),
                ("memory.limit_in_bytes", "memory.usage_in_bytes", "cache"),
            )
            for limit_name, used_name, cache_name in names:
                limit = parse_number(_read(self._group / limit_name))
                used = parse_number(_read(self._group / used_name))
                cache = parse_counter(_read(self._group / "memory.stat"), cache_name)
                if limit is not None and used is not None and limit < _UNLIMITED:
                    known.append(max(0, limit - used + (cache or 0)))
        return min(known, default=None)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):  # not there, or not ours to read: not seen
        return ""


def _size(nbytes: int) -> str:
    return f"{nbytes / (1 << 30):.1f} GiB" if nbytes >= 1 << 30 else f"{nbytes / (1 << 20):.0f} MiB"
