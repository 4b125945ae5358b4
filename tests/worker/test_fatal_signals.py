"""Fatal signals, each brought about for real: the report names it, and shows the Python stack of every thread."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

import isopod
from isopod import CrashReport, WorkerCrashed

SIGNALS = {
    "sigsegv": "SIGSEGV",
    "abort": "SIGABRT",
    "sigbus": "SIGBUS",
    "raise_fpe": "SIGFPE",
    "raise_ill": "SIGILL",
    "stack_overflow": "SIGSEGV",
}


@pytest.fixture
def fatal(models: Path) -> Iterator[isopod.Model]:
    with isopod.load(models / "signals.py:f", name="fatal", timeout=60) as model:
        yield model


def crash(model: isopod.Model, **inputs: object) -> CrashReport:
    with pytest.raises(WorkerCrashed) as caught:
        model(inputs)
    report = caught.value.report
    assert isinstance(report, CrashReport)
    assert str(report) == str(caught.value)
    assert model()["pid"] != report.pid
    return report


@pytest.mark.parametrize("way", SIGNALS)
def test_in_the_main_thread(fatal: isopod.Model, way: str) -> None:
    report = crash(fatal, way=way)
    assert report.cause.startswith(f"killed by {SIGNALS[way]} (")
    assert f"in {way}" in report.stacks or "in deeper" in report.stacks
    assert "Current thread" in str(report)


@pytest.mark.parametrize("way", SIGNALS)
def test_in_another_thread_the_stacks_of_both_are_there(fatal: isopod.Model, way: str) -> None:
    report = crash(fatal, way=way, thread=True)
    assert report.cause.startswith(f"killed by {SIGNALS[way]} (")
    if way == "stack_overflow":
        # The kernel may have no room to run a handler on: only the main thread has a second stack for that.
        assert not report.stacks or "in deeper" in report.stacks
        return
    assert f"in {way}" in report.stacks
    assert "in f" in report.stacks
    shown = str(report).partition("Python stacks at the end:")[2].splitlines()
    assert "Current thread" in shown[1]
    assert any(f"in {way}" in line for line in shown[2:4])
    assert "receive_with_descriptors" not in report.stacks


def test_the_call_in_flight_is_told(fatal: isopod.Model) -> None:
    image = np.zeros((1, 32, 32, 3), np.float32)
    report = crash(fatal, way="abort", image=image, threshold=0.5)
    assert report.call is not None
    assert report.call.inputs == ("way", "image float32 (1, 32, 32, 3)", "threshold")
    assert f"call {report.call.id}: way, image float32 (1, 32, 32, 3), threshold" in str(report)
    assert 0 < report.call.seconds <= report.uptime
    assert report.waiting_calls == 0


def test_those_in_line_are_counted(fatal: isopod.Model) -> None:
    fatal()
    futures = [fatal.submit(way="abort"), *(fatal.submit() for _ in range(3))]
    errors = [future.exception(60) for future in futures]
    report = getattr(errors[0], "report", None)
    assert isinstance(report, CrashReport)
    assert report.waiting_calls in range(4)  # those that were sent before the worker died
    assert errors[1:] == [None] * 3  # and go on: no model had seen them
    assert fatal()["pid"]


def test_a_want_of_memory_in_the_last_lines_is_a_hint(fatal: isopod.Model) -> None:
    report = crash(fatal, way="run_out_of_memory")
    assert report.oom.startswith("it printed: MemoryError")
    assert not report.oom_killed
    assert "  memory: it printed: MemoryError" in str(report)
    assert report.cause.startswith("killed by SIGABRT")


def test_earlier_deaths_are_told_the_latest_first(models: Path) -> None:
    with isopod.load(models / "signals.py:f", timeout=60) as model:
        for way in ("abort", "raise_fpe", "abort", "raise_ill", "abort", "sigsegv"):
            crash(model, way=way)
        report = crash(model, way="abort")
        assert [death.ended for death in report.earlier] == [
            f"killed by {name}" for name in ("SIGFPE", "SIGABRT", "SIGILL", "SIGABRT", "SIGSEGV")
        ]
        assert [death.calls for death in report.earlier] == [1] * 5
        told = str(report).partition("it died before:")[2].splitlines()[1:]
        assert [line.partition("earlier: ")[2].split(" after ")[0] for line in told[:2]] == [
            "killed by SIGSEGV", "killed by SIGABRT",
        ]  # fmt: skip


def test_where_it_ran_and_when(fatal: isopod.Model) -> None:
    before = datetime.now(timezone.utc)
    report = crash(fatal, way="raise_ill")
    assert report.python == ".".join(map(str, sys.version_info[:3]))
    assert os.path.exists(report.interpreter)
    assert report.environment == sys.prefix
    assert report.application == os.getpid()
    assert report.replica == 0
    when = datetime.fromisoformat(report.time)
    assert when.utcoffset() == timedelta(0)
    assert before - timedelta(seconds=1) <= when <= datetime.now(timezone.utc)
