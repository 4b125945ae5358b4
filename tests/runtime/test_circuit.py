"""Restart policy and circuit, with a clock of our own: a table and a few numbers, no process."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isopod import InternalError, Restart, SpecError
from isopod.runtime import circuit as circuits
from isopod.runtime import lifecycle
from isopod.runtime.circuit import CLOSED, OPEN, PROBING, Circuit
from isopod.runtime.lifecycle import Machine


def crash(circuit: Circuit, now: float, *, answered: bool = True, counts: bool = True) -> float | None:
    return circuit.crashed(now, "killed by SIGKILL", answered=answered, counts=counts)


def test_a_worker_that_had_answered_is_replaced_at_once() -> None:
    circuit = Circuit(Restart(max_restarts=None))
    assert [crash(circuit, now) for now in range(50)] == [0.0] * 50
    assert circuit.state == CLOSED


def test_barren_workers_are_followed_by_growing_pauses_up_to_the_greatest() -> None:
    circuit = Circuit(Restart(max_restarts=None, backoff=0.1, max_backoff=1.0))
    assert [crash(circuit, now, answered=False) for now in range(6)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])
    assert crash(circuit, 7) == 0.0  # one that answered forgives the rest
    assert crash(circuit, 8, answered=False) == pytest.approx(0.1)


def test_too_many_crashes_in_the_window_open_it_and_the_reason_is_kept() -> None:
    circuit = Circuit(Restart(max_restarts=3, window=10))
    assert [crash(circuit, now) for now in (0, 1, 2)] == [0.0] * 3
    assert crash(circuit, 3) is None
    assert circuit.state == OPEN
    assert circuit.reason == "4 of its workers died within 10 s, the last: killed by SIGKILL"
    assert crash(circuit, 4) is None  # those that lived on may die, too


def test_crashes_that_are_far_apart_do_not_open_it() -> None:
    circuit = Circuit(Restart(max_restarts=3, window=10))
    assert [crash(circuit, 4.0 * number) for number in range(20)] == [0.0] * 20


def test_a_call_that_kills_one_worker_after_the_other_counts_once() -> None:
    circuit = Circuit(Restart(max_restarts=1, window=10))
    assert crash(circuit, 0) == 0.0
    assert [crash(circuit, now, counts=False) for now in range(1, 5)] == [0.0] * 4
    assert circuit.state == CLOSED


def test_a_probe_closes_it_and_one_more_crash_within_the_window_opens_it_again() -> None:
    circuit = Circuit(Restart(max_restarts=1, window=100))
    crash(circuit, 0)
    assert crash(circuit, 1) is None
    circuit.ready()  # of a worker that was on its way: no probe
    assert circuit.state == OPEN
    circuit.cooled()
    assert circuit.state == PROBING
    circuit.ready()
    assert circuit.state == CLOSED
    assert crash(circuit, 2) is None
    circuit.cooled()
    circuit.ready()
    assert crash(circuit, 200) == 0.0  # it is long ago


def test_a_probe_that_dies_opens_it_again() -> None:
    circuit = Circuit(Restart(max_restarts=0, window=1))
    assert crash(circuit, 0) is None
    circuit.cooled()
    assert crash(circuit, 50, answered=False) is None
    assert circuit.state == OPEN


@pytest.mark.parametrize(
    "wrong",
    [{"window": -1}, {"backoff": math.nan}, {"max_backoff": math.inf}, {"cooldown": -0.1}, {"max_restarts": -1}],
    ids=repr,
)
def test_a_policy_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="restart policy cannot have"):
        Restart(**wrong)


TABLES = {"worker": (lifecycle.TRANSITIONS, lifecycle.STARTING), "circuit": (circuits.TRANSITIONS, CLOSED)}


@pytest.mark.parametrize("name", TABLES)
def test_every_state_can_be_reached_and_no_event_is_unknown(name: str) -> None:
    table, start = TABLES[name]
    reached = {start}
    while following := {after for (state, _), after in table.items() if state in reached} - reached:
        reached |= following
    assert reached == {state for state, _ in table} | set(table.values())


@pytest.mark.parametrize("name", TABLES)
@given(data=st.data())
def test_an_illegal_event_raises_and_changes_nothing(name: str, data: st.DataObject) -> None:
    table, start = TABLES[name]
    machine = Machine(table, start, "a " + name)
    events = sorted({event for _, event in table})
    for event in data.draw(st.lists(st.sampled_from(events), max_size=30)):
        state = machine.state
        if (state, event) in table:
            assert machine.advance(event) == machine.state == table[state, event]
        else:
            with pytest.raises(InternalError, match=f"a {name} that is {state} cannot have '{event}' happen to it"):
                machine.advance(event)
            assert machine.state == state
