"""Each cheap peer answers rightly and leaves nothing; what is told of a kill is what happened; nobody ends the run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.peers import conductor
from benchmarks.peers.conductor import Driver, Failure, environment_of, kill
from benchmarks.peers.leftovers import Household
from benchmarks.peers.roster import ROSTER, Entry
from benchmarks.peers.run import Cell, Effort, Run
from benchmarks.progress import Progress

CHEAP = [entry for entry in ROSTER if not entry.requirements and entry.carries]
IN_PROCESS = Entry("in process", "in_process", group="limit")
PIPE = Entry("a pipe", "pipe")
UNKNOWN = Entry("nobody", "no_such_kind")
BRIEF = Effort(passes=1, seconds=0.01, warm_up=0.001)


@pytest.fixture
def household() -> Iterator[Household]:
    with Household() as household:
        yield household
        household.clear()
        assert household.members() == []


def named(name: str) -> Entry:
    return next(entry for entry in ROSTER if entry.name == name)


def test_names_are_told_apart() -> None:
    assert len({entry.name for entry in ROSTER}) == len(ROSTER)


@pytest.mark.parametrize("entry", CHEAP, ids=lambda entry: entry.name)
def test_a_peer_answers_rightly_and_leaves_nothing(entry: Entry, household: Household) -> None:
    driver = Driver(entry, environment_of(entry))
    try:
        assert driver.ask("start")["seconds"] > 0
        for function in ("first", "plus_one"):
            for nbytes in (1 << 10, 1 << 16):
                driver.ask("prepare", function=function, nbytes=nbytes)  # fails on a wrong answer
                assert driver.ask("warm", seconds=0.0, pause=0.0)["count"] >= 1
                samples = driver.ask("turn", count=3, pause=0.0)["samples"]
                assert len(samples) == 3
                assert min(samples) > 0
        driver.traces.look(household.members())
        driver.stop()
        assert driver.traces.left(household.members()) == []
    finally:
        driver.abandon()
        driver.traces.clear()
    assert not driver.temporary.exists()


@pytest.mark.parametrize(
    ("entry", "outcome", "next_call"),
    [
        (PIPE, "EOFError", "BrokenPipeError"),
        (named("shared memory by hand, Pipe, copies"), "EOFError", "BrokenPipeError"),
        (named("isopod, plain arrays"), "WorkerCrashed", "answered"),
    ],
    ids=lambda value: value.name if isinstance(value, Entry) else value,
)
def test_a_worker_is_killed_in_mid_call(entry: Entry, outcome: str, next_call: str, household: Household) -> None:
    death = kill(entry, environment_of(entry), household)
    assert (death.outcome, death.next_call, death.left) == (outcome, next_call, ())
    assert death.seconds is not None
    assert household.members() == []


def test_a_call_that_hangs_is_told_of_and_ended(household: Household, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conductor, "_HANGS", 0.2)  # nobody rings that semaphore any more, however long it takes
    entry = named("shared memory by hand, semaphores, no copies")
    death = kill(entry, environment_of(entry), household)
    assert (death.outcome, death.seconds, death.next_call) == ("hangs", None, "hangs")
    assert household.members() == []


def test_a_peer_that_cannot_be_had_says_why(household: Household) -> None:
    driver = Driver(UNKNOWN, environment_of(UNKNOWN))
    try:
        with pytest.raises(Failure, match=r"ModuleNotFoundError: .*no_such_kind"):
            driver.ask("start")
    finally:
        driver.abandon()
        driver.traces.clear()


def test_a_peer_whose_process_ends_says_how(household: Household) -> None:
    driver = Driver(PIPE, environment_of(PIPE))
    try:
        driver.ask("start")
        driver.process.kill()
        with pytest.raises(Failure, match=r"its process ended with -9"):
            driver.ask("prepare", function="first", nbytes=1024)
    finally:
        driver.abandon()
        driver.traces.clear()


def test_without_a_compiler_there_is_a_reason_and_no_figure(household: Household) -> None:
    entry = named("futex in C, there and back")
    driver = Driver(entry, environment_of(entry), {"PATH": ""})
    try:
        with pytest.raises(Failure, match=r"Unavailable: .*C compiler"):
            driver.ask("start")
    finally:
        driver.abandon()
        driver.traces.clear()


def test_one_that_fails_does_not_end_the_run() -> None:
    cells = (Cell("first", "1 KB"), Cell("plus_one", "1 KB"), Cell("first", "1 KB", 0.0001))
    measured = Run([UNKNOWN, IN_PROCESS, PIPE], cells, BRIEF)
    measured()
    unknown, in_process, pipe = measured.rows
    assert "no_such_kind" in (unknown.reason or "")
    assert unknown.figures == {}
    for row in (in_process, pipe):
        assert row.reason is None
        assert list(row.figures) == [cell.name for cell in cells]
    assert pipe.figures["1 KB small"].samples >= 2
    assert in_process.death is None
    assert pipe.death is not None
    assert pipe.death.outcome == "EOFError"


def test_one_that_dies_in_mid_run_leaves_it_and_what_it_had_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = (Cell("first", "1 KB"), Cell("plus_one", "1 KB"))
    measured = Run([PIPE, IN_PROCESS], cells, BRIEF, kills=False)
    step = Progress.step

    def deadly(progress: Progress, what: str, seconds: float) -> None:
        step(progress, what, seconds)
        if what == cells[1].name:
            measured._drivers[PIPE.name].process.kill()

    monkeypatch.setattr(Progress, "step", deadly)
    measured()
    pipe, in_process = measured.rows
    assert pipe.reason == "its process ended with -9"
    assert list(pipe.figures) == ["1 KB small"]
    assert list(in_process.figures) == ["1 KB small", "1 KB full"]


def test_ctrl_c_ends_every_process_and_keeps_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = (Cell("first", "1 KB"), Cell("plus_one", "1 KB"))
    step = Progress.step

    def interrupted(progress: Progress, what: str, seconds: float) -> None:
        step(progress, what, seconds)
        if what == cells[1].name:
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "step", interrupted)
    measured = Run([IN_PROCESS, PIPE], cells, BRIEF)
    with pytest.raises(KeyboardInterrupt):
        measured()
    assert [list(row.figures) for row in measured.rows] == [["1 KB small"], ["1 KB small"]]
    with Household() as household:
        assert household.members() == []
