"""Evidence of an out-of-memory kill: parsed from the kernel's own texts, and weighed against what else may be meant."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from isopod.runtime import oom
from isopod.runtime.oom import Finding, Gauge, complaint_in, parse_counter, parse_groups

KILLED = -9
GIB = 1 << 30
EVENTS = "low 0\nhigh 12\nmax 3401\noom 5\noom_kill {}\noom_group_kill 0\n"
CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"
VMSTAT = "nr_free_pages 93112\noom_kill {}\ndrop_pagecache 0\n"
MEMINFO = "MemTotal:       16384000 kB\nMemFree:          204800 kB\nMemAvailable:    {} kB\n"
HYBRID = "12:pids:/box\n4:cpu,memory,hugetlb:/box/inner\n1:name=systemd:/box\n0::/unified\n"


@pytest.fixture(autouse=True)
def _nothing_explained() -> Iterator[None]:
    kept = dict(oom._explained)
    oom._explained.clear()
    yield
    oom._explained.clear()
    oom._explained.update(kept)


class Machine:
    """A root with the few files that a gauge reads, for the process 7."""

    def __init__(self, root: Path, groups: str, files: dict[str, str]) -> None:
        self.root = root
        self.write("proc/7/cgroup", groups)
        for path, text in files.items():
            self.write(path, text)

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def gauge(self) -> Gauge:
        return Gauge(7, self.root)


def finding(gauge: Gauge, *, status: int | None = KILLED, ours: bool = False, peak: int = 0) -> Finding:
    return gauge.finding(status, ours, peak, [])


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        (EVENTS.format(3), "oom_kill", 3),
        (CONTROL.format(1), "oom_kill", 1),
        (VMSTAT.format(9), "oom_kill", 9),
        (MEMINFO.format(4096), "MemAvailable", 4096),
        ("oom_kill_disable 0\nunder_oom 0\n", "oom_kill", None),
        ("oom_kill\n", "oom_kill", None),
        ("oom_kill many\n", "oom_kill", None),
        ("", "oom_kill", None),
    ],
)
def test_counters(text: str, key: str, value: int | None) -> None:
    assert parse_counter(text, key) == value


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("0::/user.slice/app\n", (None, "/user.slice/app")),
        ("4:memory:/box\n0::/\n", ("/box", "/")),
        (HYBRID, ("/box/inner", "/unified")),
        ("0::/a:b\n", (None, "/a:b")),
        ("4:memory_recursive:/x\n", (None, None)),
        ("\nnonsense\n", (None, None)),
    ],
)
def test_groups(text: str, groups: tuple[str | None, str | None]) -> None:
    assert parse_groups(text) == groups


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["MemoryError: Unable to allocate 8.00 GiB"], "MemoryError: Unable to allocate 8.00 GiB"),
        (["MemoryError", "cleaning up"], "MemoryError"),
        (["  what():  std::bad_alloc"], "what():  std::bad_alloc"),
        (["fork: Cannot allocate memory", "MemoryError: the last"], "MemoryError: the last"),
        (["RuntimeError: CUDA out of memory."], "RuntimeError: CUDA out of memory."),
        (["MyMemoryErrors are fine"], ""),
        (["MemoryError", *["later"] * 10], ""),
        ([], ""),
    ],
)
def test_complaints(lines: list[str], said: str) -> None:
    assert complaint_in(lines) == said


@pytest.mark.parametrize(
    ("groups", "file", "text", "where"),
    [
        ("0::/app\n", "sys/fs/cgroup/app/memory.events", EVENTS, "in its control group"),
        ("0::/of/the/host\n", "sys/fs/cgroup/memory.events", EVENTS, "in its control group"),
        (HYBRID, "sys/fs/cgroup/memory/box/inner/memory.oom_control", CONTROL, "in its control group"),
        (HYBRID, "sys/fs/cgroup/memory/memory.oom_control", CONTROL, "in its control group"),
        ("0::/\n", "proc/vmstat", VMSTAT, "on this machine"),
        ("", "proc/vmstat", VMSTAT, "on this machine"),
    ],
)
def test_a_counter_that_rose_is_evidence(tmp_path: Path, groups: str, file: str, text: str, where: str) -> None:
    machine = Machine(tmp_path, groups, {file: text.format(2)})
    gauge = machine.gauge()
    assert finding(gauge) == Finding()
    machine.write(file, text.format(3))
    assert finding(gauge, ours=True) == Finding()
    assert finding(gauge, status=-11) == Finding()
    assert finding(gauge, status=None) == Finding()
    found = finding(gauge)
    assert found.killed
    assert found.text == f"the kernel killed a process {where} for want of memory while it ran"


def test_the_groups_own_counter_counts_and_not_the_machines(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/app/memory.events": EVENTS.format(0), "proc/vmstat": VMSTAT.format(0)}
    machine = Machine(tmp_path, "0::/app\n", files)
    gauge = machine.gauge()
    machine.write("proc/vmstat", VMSTAT.format(4))  # somebody else's
    assert finding(gauge) == Finding()


def test_one_kill_explains_one_death(tmp_path: Path) -> None:
    """A worker that somebody killed is not put down to the kernel because it killed another worker before."""
    file = "sys/fs/cgroup/app/memory.events"
    machine = Machine(tmp_path, "0::/app\n", {file: EVENTS.format(0)})
    first, second, third = machine.gauge(), machine.gauge(), machine.gauge()
    machine.write(file, EVENTS.format(1))
    assert finding(first).killed
    assert not finding(second).killed
    assert not finding(machine.gauge()).killed
    machine.write(file, EVENTS.format(2))
    assert finding(third).killed


def test_a_worker_that_took_most_of_what_there_is_is_a_hint(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "0::/\n", {"proc/meminfo": MEMINFO.format(4 << 20)})
    assert finding(machine.gauge(), peak=GIB) == Finding()
    found = finding(machine.gauge(), peak=7 * GIB // 2)
    assert (found.killed, found.text) == (
        False, "memory was scarce: it had taken 3.5 GiB, and without it 4.0 GiB are free",
    )  # fmt: skip
    assert finding(machine.gauge(), peak=7 * GIB // 2, status=3) == Finding()


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        (
            "0::/app\n",
            {
                "app/memory.events": EVENTS.format(0),
                "app/memory.max": f"{2 * GIB}\n",
                "app/memory.current": f"{GIB}\n",
                "app/memory.stat": f"anon 5\nfile {GIB // 2}\n",
            },
        ),
        (
            "4:memory:/app\n",
            {
                "memory/app/memory.oom_control": CONTROL.format(0),
                "memory/app/memory.limit_in_bytes": f"{2 * GIB}\n",
                "memory/app/memory.usage_in_bytes": f"{GIB}\n",
                "memory/app/memory.stat": f"cache {GIB // 2}\nrss 5\n",
            },
        ),
    ],
    ids=["version 2", "version 1"],
)
def test_the_limit_of_the_group_counts_and_its_cache_is_free(
    tmp_path: Path, groups: str, files: dict[str, str]
) -> None:
    machine = Machine(tmp_path, groups, {f"sys/fs/cgroup/{path}": text for path, text in files.items()})
    machine.write("proc/meminfo", MEMINFO.format(64 << 20))
    assert finding(machine.gauge(), peak=GIB) == Finding()
    assert "it had taken 1.3 GiB, and without it 1.5 GiB are free" in finding(machine.gauge(), peak=4 * GIB // 3).text


@pytest.mark.parametrize("limits", [("max", "1"), ("9223372036854771712", "1"), ("", "x")])
def test_no_limit_is_no_hint(tmp_path: Path, limits: tuple[str, str]) -> None:
    machine = Machine(tmp_path, "0::/app\n", {"sys/fs/cgroup/app/memory.events": EVENTS.format(0)})
    for name, text in zip(("memory.max", "memory.current"), limits, strict=True):
        machine.write(f"sys/fs/cgroup/app/{name}", text)
    assert finding(machine.gauge(), peak=GIB) == Finding()


def test_a_machine_that_shows_nothing_is_no_error(tmp_path: Path) -> None:
    gauge = Gauge(7, tmp_path)
    assert finding(gauge, peak=GIB) == Finding()
    assert gauge.finding(1, False, 0, ["MemoryError"]) == Finding("it printed: MemoryError")


def test_files_that_go_away_meanwhile_are_no_evidence(tmp_path: Path) -> None:
    file = "sys/fs/cgroup/app/memory.events"
    machine = Machine(tmp_path, "0::/app\n", {file: EVENTS.format(5)})
    gauge = machine.gauge()
    (tmp_path / file).unlink()
    assert finding(gauge) == Finding()


def test_on_this_machine_nothing_is_raised() -> None:
    gauge = Gauge(os.getpid())
    assert isinstance(finding(gauge, peak=1), Finding)
    assert isinstance(finding(Gauge(2**22 + 1)), Finding)
