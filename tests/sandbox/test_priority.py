"""A strict model runs below its application, with all that it starts, and stays there."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT

import isopod
from isopod import Sandbox, SandboxUnavailable
from isopod.opeworker.guard import priority
from isopod.runtime.sandbox.look import _lowered
from isopod.runtime.sandbox.machine import trial

TARGET = f"{Path(__file__).resolve().parent / 'models' / 'inherited.py'}:priority"

# A process that is lowered; BEFORE it runs in another way than most.
LOCK = """
import importlib, os, sys, types
for name, path in (("isopod", []), ("isopod.ipc", ["ipc"]), ("isopod.opeworker", ["opeworker"])):
    sys.modules[name] = module = types.ModuleType(name)
    module.__path__ = path
priority = importlib.import_module("isopod.opeworker.guard.priority")
BEFORE
priority.lower(10)
print(os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0))
"""
REAL_TIME = "os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))"


@pytest.mark.parametrize(
    ("box", "nice"),
    [
        (Sandbox("none"), 0),
        (Sandbox("limits"), 0),
        (Sandbox("limits", nice=5), 5),
        (Sandbox("strict"), 10),
        (Sandbox("strict", nice=19), 19),
        (Sandbox("strict", nice=0), 0),
    ],
)
def test_a_model_and_its_threads_are_as_nice_as_was_asked_for(box: Sandbox, nice: int) -> None:
    with isopod.load(TARGET, sandbox=box) as model:
        assert dict(model(forks=False)) == {"worker": nice, "thread": nice}
        told = {one.name: (one.detail, one.seen_by) for one in model.sandbox_report().mechanisms}
        assert told.get("priority") == ((f"nice {nice}, and never less again", "application") if nice else None)


def test_processes_that_it_starts_are_as_nice() -> None:
    box = Sandbox("strict", allow_subprocess=True)
    if not trial(box)[0]:
        pytest.skip("this machine gives no namespace of processes")
    with isopod.load(TARGET, sandbox=box) as model:
        assert dict(model(forks=True)) == {"worker": 10, "thread": 10, "process": 10}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("pass", "10 0"),
        ("os.nice(15)", "15 0"),
        (REAL_TIME, "10 0"),
    ],
)
def test_it_is_an_ordinary_process_and_no_less_nice_than_before(before: str, after: str) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", LOCK.replace("BEFORE", before)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if before == REAL_TIME and "PermissionError" in done.stderr:
        pytest.skip("this machine gives no real time")
    assert done.stdout.strip() == after, done.stderr


def test_limits_that_would_let_it_raise_it_again_are_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few systems let their users have any, so nothing is seen of it without."""
    limited: dict[int, tuple[int, int]] = {}
    asked: list[tuple[int, int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", limited.__setitem__)
    monkeypatch.setattr(os, "setpriority", lambda *given: asked.append(given))
    priority.lower(19)
    assert limited == {resource.RLIMIT_NICE: (0, 0), resource.RLIMIT_RTPRIO: (0, 0)}
    assert asked == [(os.PRIO_PROCESS, 0, 19)]


@pytest.mark.parametrize(
    ("nice", "limits", "fact"),
    [
        (0, {"Max nice priority": 0.0, "Max realtime priority": 0.0}, "its priority is nice 0, not 10"),
        (10, {"Max nice priority": 20.0, "Max realtime priority": 0.0}, "it may raise its priority again"),
        (10, {"Max nice priority": 0.0, "Max realtime priority": 1.0}, "it may raise its priority again"),
        (10, {}, "it may raise its priority again"),
    ],
)
def test_the_application_looks_at_it_for_itself(nice: int, limits: dict[str, float], fact: str) -> None:
    with pytest.raises(SandboxUnavailable, match=f"its sandbox does not hold: {fact}"):
        _lowered("liar", nice, limits, 10)
