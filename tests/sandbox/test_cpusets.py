"""A strict model in a container whose processors change: in a real cpuset, which the test makes and changes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from application import Application
from waits import until

from isopod.runtime.placement import all_but_one_core

TARGET = f"{Path(__file__).resolve().parent / 'models' / 'inherited.py'}:processors"
ALL = sorted(os.sched_getaffinity(0))
FEWER = sorted(all_but_one_core(frozenset(ALL)))
# Version 1 of control groups, and version 2.
ROOTS = [Path("/sys/fs/cgroup/cpuset"), Path("/sys/fs/cgroup")]

PROGRAM = f"""
with open(sys.stdin.readline().strip(), "w") as procs:
    procs.write(str(os.getpid()))
def where(sandbox):
    with isopod.load({TARGET!r}, sandbox=sandbox) as model:
        return model(forks=False)["worker"]
tell(where("strict"))
sys.stdin.readline()
tell(where("strict"))
tell(where("limits"))
with isopod.load({TARGET!r}, sandbox="strict") as model:
    tell(model(forks=False)["worker"], model.health.pid)
    sys.stdin.readline()
    tell(model(forks=False)["worker"], model.health.restarts)
"""

pytestmark = pytest.mark.skipif(len(ALL) < 2, reason="there is one processor")


class Cpuset:
    def __init__(self, folder: Path) -> None:
        self.procs = folder / "cgroup.procs"
        self._cpus = folder / "cpuset.cpus"

    def give(self, cpus: list[int]) -> None:
        self._cpus.write_text(",".join(map(str, cpus)))


@pytest.fixture
def cpuset() -> Iterator[Cpuset]:
    with contextlib.ExitStack() as stack:
        for root in ROOTS:
            folder = root / f"isopod-tests-{os.getpid()}"
            try:
                folder.mkdir()
                stack.callback(_remove, folder)
                made = Cpuset(folder)
                made.give(ALL)
                if (root / "cpuset.mems").exists():  # version 1 has no processes where there is no memory
                    (folder / "cpuset.mems").write_text((root / "cpuset.mems").read_text())
            except OSError:
                continue
            yield made
            return
        pytest.skip("no cpuset can be made here")


def _remove(folder: Path) -> None:
    def removed() -> bool:
        with contextlib.suppress(OSError):  # it stays for as long as a process is in it
            folder.rmdir()
        return not folder.exists()

    until(removed)


def test_it_leaves_one_core_of_what_its_container_has_at_the_time(cpuset: Cpuset) -> None:
    application = Application(PROGRAM)
    told = application.process.stdin
    assert told is not None

    def go_on(line: str = "") -> None:
        told.write(line + "\n")
        told.flush()

    only = ALL[-1]
    cpuset.give([only])
    go_on(str(cpuset.procs))
    assert application.line() == f"[{only}]"
    cpuset.give(ALL)
    go_on()
    assert application.line() == f"{FEWER}"
    assert application.line() == f"{ALL}"
    before, pid = application.line().rsplit(" ", 1)
    assert (before, sorted(os.sched_getaffinity(int(pid)))) == (f"{FEWER}", FEWER)
    left = next(cpu for cpu in ALL if cpu not in FEWER)
    cpuset.give([left])  # none of those on which it runs
    go_on()
    assert application.line() == f"[{left}] 0"
    assert application.end()[0] == 0
