"""What must come of a row, from its way and its phase: the outcomes each call may have, and what an error must say."""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import dataclass

from isopod import Closed, CrashReport, ModelError, WorkerCrashed, WorkerTimeout, WorkerUnavailable
from matrix.phases import LEAVING, MAIN, START, Phase
from matrix.ways import DIES, EITHER, HANGS, LIVES, RAISES, UNSEEN, Way

ANSWER: type = dict
DEADLINE = 0.5  # seconds, for what would hang


@dataclass(frozen=True)
class Expected:
    """``doomed`` are the outcomes of the call that meets the way, or comes first after it; ``others`` of those beside
    it. ``deadline``: which calls need one, or would wait for ever. ``restarts``: whether the worker is another one
    afterwards; None where either can be."""

    doomed: Set[type]
    others: Set[type]
    doomed_deadline: float | None = None
    others_deadline: float | None = None
    restarts: bool | None = False


def expected(way: Way, phase: Phase) -> Expected:
    end, _ = way.within(phase)
    if phase.kind == START:
        return _while_starting(end)
    if phase.kind == LEAVING:
        return _while_leaving(end, phase)
    if phase.runs_in == MAIN:
        return _in_a_call(end)
    return _beside_calls(end, {ANSWER, WorkerCrashed} if phase.name == "copying" else {ANSWER})


def _while_starting(end: str) -> Expected:
    """A new worker meets it each time; the callers wait for one."""
    if end == LIVES:
        return Expected({ANSWER}, {ANSWER}, restarts=None)
    if end == HANGS:
        return Expected({WorkerTimeout}, {WorkerTimeout}, DEADLINE, DEADLINE, restarts=None)
    return Expected({WorkerUnavailable}, {WorkerUnavailable}, restarts=None)


def _in_a_call(end: str) -> Expected:
    """What no model has seen goes to the next worker by itself."""
    if end == DIES:
        return Expected({WorkerCrashed}, {ANSWER}, restarts=True)
    if end == HANGS:
        return Expected({WorkerTimeout}, {ANSWER}, DEADLINE, restarts=True)
    if end == EITHER:
        return Expected({ANSWER, WorkerCrashed}, {ANSWER}, restarts=None)
    return Expected({ModelError} if end == RAISES else {ANSWER}, {ANSWER})


def _beside_calls(end: str, others: Set[type]) -> Expected:
    """The main thread is at no call of ours, or at one of the ``others``."""
    if end == DIES:
        return Expected({ANSWER}, others, restarts=True)
    if end == HANGS:  # each is in line, or at the worker; another worker may come in time for some
        return Expected({WorkerTimeout}, {WorkerTimeout, ANSWER}, DEADLINE, DEADLINE, restarts=True)
    if end in (UNSEEN, EITHER):  # it is seen when an answer is looked for: some calls may have begun by then
        return Expected({ANSWER, WorkerCrashed}, {ANSWER, WorkerCrashed}, restarts=None)
    return Expected({ANSWER}, {ANSWER})


def _while_leaving(end: str, phase: Phase) -> Expected:
    """The model is closed, or another version takes over, while a call runs that then meets it."""
    closed = phase.name == "drain"
    late = {ANSWER, Closed} if closed else {ANSWER}
    if end == DIES:
        return Expected({WorkerCrashed}, late)
    if end == HANGS:  # it is ended when the time to drain is over
        return Expected({Closed}, late)
    if end == EITHER:
        return Expected({ANSWER, WorkerCrashed}, late)
    return Expected({ModelError} if end == RAISES else {ANSWER}, late)


def check(error: BaseException, way: Way, phase: Phase) -> None:
    """An error of the call that met the way: its facts are those of the way."""
    text, (end, fact) = str(error), way.within(phase)
    if isinstance(error, Closed):
        assert "was closed" in text, text
        return
    if phase.kind == START and isinstance(error, WorkerTimeout):
        fact = "still being started"
    assert re.search(fact, text, re.DOTALL), text
    assert "'Dying'" in text, text
    if isinstance(error, WorkerUnavailable):
        assert "no new worker could be started" in text, text
        assert isinstance(error.__cause__, ModelError if end == RAISES else WorkerCrashed)
    if phase.name == "copying" and isinstance(error, WorkerTimeout) and error.report is None:
        assert "the call had not been started" in text  # it was in line behind another one, whose deadline came first
    elif phase.kind != START and isinstance(error, WorkerCrashed | WorkerTimeout):
        check_report(error.report, way, phase)
    if isinstance(error, ModelError):
        assert error.remote_traceback, text


def check_report(report: object, way: Way, phase: Phase) -> None:
    assert isinstance(report, CrashReport)
    if phase.runs_in == MAIN and way.end != EITHER:  # whose last lines are those of what the worker itself ran into
        assert f"about to meet {way.name}" in report.stderr
        stacks = way.stacks and not (phase.kind == LEAVING and way.end == HANGS)  # nobody asks for them then
        assert ("in meet" in report.stacks or "in deeper" in report.stacks) == stacks, report.stacks
