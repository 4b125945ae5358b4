"""Each row ends with the right error within its bound, every call settled once, nothing left, and a call that works.

A test is one way in one phase; the callers are its rows, and what fails is told by row. Which outcomes are right is in
``rules``; what makes no sense, and why, in ``phases``.
"""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from waits import GUARD, until

import isopod
from isopod import IsopodError, ModelError, Restart, WorkerCrashed, WorkerTimeout
from matrix import rules
from matrix.callers import CALLERS, LEFT, Call, Ledger
from matrix.phases import CLOSING, LEAVING, LIVE, OUTSIDE, PHASES, START, Phase
from matrix.rows import MODELS, Orders, Trigger, pull, strike_from_outside
from matrix.rules import ANSWER, Expected
from matrix.ways import DIES, HANGS, LIVES, WAYS, Way

BOUND = 20.0  # seconds in which everybody has heard, and a new worker serves: a hang guard, no figure
BRIEFLY = 0.3  # seconds to drain, for what would hang
LOADING = 1.5  # seconds to load, for what would hang
ALWAYS = ("sigkill", "exit_0", "endless", "raises", "garbage_on_socket", "sigstop")  # the quick part of each phase


def rows(kind: str) -> pytest.MarkDecorator:
    """The tests of one kind of phase: ``way-phase``."""
    pairs = []
    for phase in PHASES.values():
        for way in WAYS.values():
            if phase.kind == kind and way.name not in phase.without:
                marks = [] if way.name in ALWAYS else [pytest.mark.slow]
                pairs.append(pytest.param(way, phase, id=f"{way.name}-{phase.name}", marks=marks))
    return pytest.mark.parametrize(("way", "phase"), pairs)


@pytest.fixture(scope="module")
def bystander(_supervisor_at_rest: None) -> Iterator[isopod.Model]:
    """Another model, whose worker lives through all of it."""
    with isopod.load(MODELS / "deaths.py:Dying", name="bystander") as model:
        model(x=np.ones(3))
        yield model


@pytest.fixture(autouse=True)
def _nobody_else_is_hurt(bystander: isopod.Model) -> Iterator[None]:
    before = bystander.health.pid
    yield
    assert bystander(x=np.ones(3))["pid"] == before


@pytest.fixture
def orders(tmp_path: Path) -> Orders:
    return Orders(tmp_path)


class Rows:
    """Plays the rows of one test, and tells at its end which of them failed, and how."""

    def __init__(self, way: Way, phase: Phase) -> None:
        self._test = f"{way.name}-{phase.name}"
        self._failed: list[str] = []

    @contextlib.contextmanager
    def row(self, caller: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
            assert time.monotonic() - began < BOUND
        except Exception:  # goes into the test's failure, with the row's name
            self._failed.append(f"{self._test}-{caller}:\n{traceback.format_exc()}")

    def all_hold(self) -> None:
        if self._failed:
            pytest.fail("\n".join(self._failed), pytrace=False)


def load(orders: Orders, phase: Phase, **options: Any) -> isopod.Model:
    restart = Restart(max_restarts=None, backoff=0.01, max_backoff=0.05)
    return isopod.load(MODELS / "deaths.py:Dying", env=orders.env(phase), restart=restart, **options)


def calls(doomed: dict[str, Any], expected: Expected) -> list[Call]:
    others = [Call(f"other {n}", {"x": np.full(3, n)}, expected.others_deadline) for n in range(3)]
    return [Call("doomed", doomed, expected.doomed_deadline), *others]


def settled(ledger: Ledger, made: list[Call], way: Way, phase: Phase, caller: str) -> None:
    """Every call is settled once, as the rules say."""
    expected = rules.expected(way, phase)
    outcomes = ledger.outcomes([call.name for call in made])
    ended = any(isinstance(outcome, Exception) for outcome in outcomes.values())
    for call in made:
        outcome = outcomes[call.name]
        right = {*(expected.doomed if call.name == "doomed" else expected.others)}
        if caller == "map" and expected.doomed_deadline:
            right.add(WorkerTimeout)  # all of a map's calls have the one deadline
        if caller == "map" and ended and outcome == LEFT:
            continue
        kind = ANSWER if not isinstance(outcome, Exception) else type(outcome)
        assert kind in right, f"{call.name}: {outcome!r}"
        if kind is not ANSWER:
            rules.check(outcome, way, phase) if call.name == "doomed" else None
        elif call.name != "doomed":
            assert outcome["y"].tolist() == (call.inputs["x"] * 2).tolist()


@rows(LIVE)
def test_while_it_serves(orders: Orders, way: Way, phase: Phase) -> None:
    expected = rules.expected(way, phase)
    play = Rows(way, phase)
    with load(orders, phase) as model:
        for name, caller in CALLERS.items():
            with play.row(name):
                before = model(x=np.ones(3), phase="idle" if phase.name in ("idle", "copying") else "call")["pid"]
                doomed: dict[str, Any] = {"phase": phase.name, "way": way.name}
                if phase.name == "idle":
                    doomed = {}
                    pull(model, orders, way, phase)
                elif phase.name == "copying":
                    doomed = {"x": Trigger(model, orders, way, phase)}
                ledger, made = Ledger(), calls(doomed, expected)
                caller(model, made, ledger)
                if expected.restarts:
                    rules.check_report(model.health.last_crash, way, phase)
                until(lambda: model.health.ready)
                after = model.map([{"x": np.ones(3)}] * 2) if expected.restarts is None else [model(x=np.ones(3))]
                pids = [answer["pid"] for answer in _through(after)]
                if expected.restarts is not None:
                    assert (pids[-1] != before) == expected.restarts
                assert psutil.pid_exists(before) != bool(expected.restarts) or expected.restarts is None
                settled(ledger, made, way, phase, name)
            orders.withdraw()
        assert model(x=np.ones(3))["y"].tolist() == [2.0] * 3
    play.all_hold()


def _through(answers: Any) -> Iterator[Any]:
    """Those that there are: garbage may be found only now."""
    with contextlib.suppress(WorkerCrashed):
        yield from answers


@rows(START)
def test_while_it_loads(orders: Orders, monkeypatch: pytest.MonkeyPatch, way: Way, phase: Phase) -> None:
    """The first worker: its end is an error of ``load`` itself."""
    if phase.runs_in == OUTSIDE:
        strike_from_outside(monkeypatch, orders, phase, way)
    end, fact = way.within(phase)
    orders.give(phase.name, way.name)
    if end == LIVES:
        load(orders, phase).close()
    else:
        right = {DIES: WorkerCrashed, HANGS: WorkerTimeout}.get(end, ModelError)
        with pytest.raises(IsopodError, match=fact) as caught:
            load(orders, phase, load_timeout=LOADING if end == HANGS else GUARD)
        assert type(caught.value) is right, caught.value
        if right is not ModelError:
            caught.match(f"(?s)died while {phase.doing}")
            rules.check_report(getattr(caught.value, "report", None), way, phase)
    orders.withdraw()
    with load(orders, phase) as model:
        assert model(x=np.ones(3))["y"].tolist() == [2.0] * 3


@rows(START)
def test_while_callers_wait_for_a_new_one(
    orders: Orders, monkeypatch: pytest.MonkeyPatch, way: Way, phase: Phase
) -> None:
    """Every caller at once: each new worker meets the way, until there are no such orders any more."""
    if phase.runs_in == OUTSIDE:
        strike_from_outside(monkeypatch, orders, phase, way)
    play = Rows(way, phase)
    with load(orders, phase) as model:
        orders.give(phase.name, way.name)
        first = psutil.Process(model.health.pid)
        first.kill()
        until(lambda: model.health.pid != first.pid)
        heard = {name: Ledger() for name in CALLERS}
        made = calls({}, rules.expected(way, phase))
        began = [threading.Thread(target=caller, args=(model, made, heard[name])) for name, caller in CALLERS.items()]
        for thread in began:
            thread.start()
        for thread in began:
            thread.join(GUARD)
        for name in CALLERS:
            with play.row(name):
                settled(heard[name], made, way, phase, name)
        orders.withdraw()
        until(partial(_serves, model, psutil.Process(model.health.pid) if way.end == HANGS else None))
        assert model(x=np.ones(3))["y"].tolist() == [2.0] * 3
    play.all_hold()


def _serves(model: isopod.Model, hanging: psutil.Process | None) -> bool:
    if hanging is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            hanging.kill()
    return model.health.ready


@rows(LEAVING)
def test_while_it_drains(orders: Orders, way: Way, phase: Phase) -> None:
    """A call runs when its model is closed, or replaced by another version, and meets the way then."""
    expected = rules.expected(way, phase)
    play = Rows(way, phase)
    briefly = BRIEFLY if way.end == HANGS else GUARD
    model: isopod.Model | None = None
    for name, caller in CALLERS.items():
        with play.row(name):
            model = model or load(orders, phase)
            orders.give("nothing", way.name)
            ledger, made = Ledger(), calls({"phase": phase.name, "way": way.name}, expected)
            thread = threading.Thread(target=caller, args=(model, made, ledger))
            thread.start()
            until(orders.sign("begun").exists)
            if phase.name == "drain":
                model.close(briefly)
            else:
                model.reload(drain=briefly)
            thread.join(GUARD)
            assert not thread.is_alive()
            if phase.name == "drain":
                assert model.health.state == "closed"
                model = None
            settled(ledger, made, way, phase, name)
            if model is not None:
                assert model(x=np.ones(3))["y"].tolist() == [2.0] * 3
    if model is not None:
        model.close()
    play.all_hold()


@rows(CLOSING)
def test_while_the_model_itself_closes(orders: Orders, way: Way, phase: Phase) -> None:
    """Nobody waits for anything but the end; the rows are the ways to bring it about."""
    play = Rows(way, phase)
    briefly = BRIEFLY if way.end == HANGS else GUARD
    for row in ("close", "with", "reload", "garbage"):
        with play.row(row):
            model = load(orders, phase)
            worker = psutil.Process(model(x=np.ones(3))["pid"])
            orders.give(phase.name, way.name)
            if row == "reload":
                model.reload(drain=briefly)
                until(lambda worker=worker: not worker.is_running())  # type: ignore[misc]
                orders.withdraw()
                assert model(x=np.ones(3))["y"].tolist() == [2.0] * 3
            if row == "garbage":
                del model
            elif row == "with" and way.end != HANGS:
                with model:
                    pass
            else:
                model.close(briefly)
            until(lambda worker=worker: not worker.is_running())  # type: ignore[misc]
            orders.withdraw()
    play.all_hold()
