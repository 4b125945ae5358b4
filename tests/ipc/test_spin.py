"""Whether to spin is learned from waits, and learned anew when they change."""

from __future__ import annotations

import random

import pytest

from isopod.ipc.spin import Spin


def settled_on(spin: Spin, parked_ns: int, spun_ns: int) -> float:
    """How often it spins once it has learned that a wait takes so long after parking, and so long after spinning."""
    spun = 0
    for turn in range(4096):
        spun += spin.spins and turn >= 2048
        spin.learn(spun_ns if spin.spins else parked_ns)
    return spun / 2048


def test_the_faster_way_of_waiting_wins_and_the_other_is_tried_now_and_then() -> None:
    spin = Spin(60_000)
    assert spin.spins
    assert 0.9 < settled_on(spin, parked_ns=50_000, spun_ns=25_000) < 1
    assert 0 < settled_on(spin, parked_ns=5_000, spun_ns=50_000) < 0.1
    assert 0 < settled_on(spin, parked_ns=10_000, spun_ns=10_000) < 0.1  # a tie is not worth the processor
    assert 0.9 < settled_on(spin, parked_ns=50_000, spun_ns=25_000) < 1  # it is never too late to learn
    assert 0 < settled_on(spin, parked_ns=10**9, spun_ns=10**9) < 0.1  # a slow model


def test_where_spins_end_sooner_than_anybody_wakes_up_there_is_nothing_to_try() -> None:
    spin = Spin(60_000)
    assert settled_on(spin, parked_ns=50_000, spun_ns=5_000) == 1
    assert 0 < settled_on(spin, parked_ns=30_000, spun_ns=100_000) < 0.1  # the cores are busy now


def test_where_spins_are_about_as_slow_as_what_counts_as_quick_that_is_no_change_each_time() -> None:
    spin, chance, parked = Spin(60_000), random.Random(1), 0
    for turn in range(20_000):
        parked += turn >= 4096 and not spin.spins
        spin.learn(chance.randrange(12_000, 18_000) if spin.spins else 40_000)
    assert parked <= 2 / 64 * 20_000


def waits_until(spin: Spin, spins: bool, parked_ns: int, spun_ns: int) -> int:
    """How many waits it takes to learn that this is the better way, now that they take so long."""
    for turn in range(10_000):
        if spin._best == spins:
            return turn
        spin.learn(spun_ns if spin.spins else parked_ns)
    raise AssertionError("it never learns")


def test_what_has_changed_is_learned_in_some_dozens_of_waits() -> None:
    """Both sides were on one core, and are on two now; then on one again; then a slow model is replaced."""
    spin = Spin(60_000)
    if not spin.budget_ns:
        pytest.skip("there is one processor")
    for _ in range(5):
        assert settled_on(spin, parked_ns=20_000, spun_ns=150_000) < 0.1
        assert waits_until(spin, True, parked_ns=40_000, spun_ns=9_000) <= 64
        assert settled_on(spin, parked_ns=40_000, spun_ns=9_000) == 1
        assert waits_until(spin, False, parked_ns=20_000, spun_ns=150_000) <= 16
        assert settled_on(spin, parked_ns=10**9, spun_ns=10**9) < 0.1
        assert waits_until(spin, True, parked_ns=40_000, spun_ns=9_000) <= 64


def test_one_trial_is_enough_where_it_is_much_worse() -> None:
    spin = Spin(60_000)
    assert settled_on(spin, parked_ns=20_000, spun_ns=45_000) < 1 / 60
    assert settled_on(spin, parked_ns=20_000, spun_ns=30_000) == pytest.approx(2 / 64, abs=0.001)


def test_a_pause_between_bursts_is_no_reason_not_to_spin_in_them() -> None:
    spin = Spin(60_000)
    if not spin.budget_ns:
        pytest.skip("there is one processor")
    assert settled_on(spin, parked_ns=50_000, spun_ns=5_000) > 0.9
    before = settled_on(spin, parked_ns=50_000, spun_ns=5_000)
    for _ in range(20):
        spin.learn(10_000_000_000)
        assert settled_on(spin, parked_ns=50_000, spun_ns=5_000) == pytest.approx(before, abs=0.05)


def test_a_wait_that_was_held_up_once_teaches_little() -> None:
    """The first one after a pause that is not long enough to tell, or one in which the machine was busy."""
    spin = Spin(60_000)
    if not spin.budget_ns:
        pytest.skip("there is one processor")
    for _ in range(20):
        assert settled_on(spin, parked_ns=30_000, spun_ns=5_000) > 0.9
        assert spin.spins
        spin.learn(200_000)
        assert spin.spins


def test_without_a_budget_there_is_no_spinning() -> None:
    spin = Spin(0)
    assert not spin.spins
    assert settled_on(spin, parked_ns=10**6, spun_ns=1) == 0
