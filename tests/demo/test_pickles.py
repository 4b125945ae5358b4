"""``isopod demo`` as a user runs it: from nothing, and again. Each fact that it shows is looked for in its words."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from demo.command import isopod, need_its_pythons

from isopod.demo.pickles import versions

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(600)]

OLD, NEW = (version.name for version in versions())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, subprocess.CompletedProcess[str]]]:
    """The first run in an empty folder with an empty store, and the second."""
    need_its_pythons()
    home, empty = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("empty")
    runs = {which: isopod("demo", cwd=empty, ISOPOD_HOME=str(home)) for which in ("cold", "warm")}
    assert list(empty.iterdir()) == [], "it leaves nothing where it was called"
    yield runs
    log = (home / "demo" / "workers.log").read_text(encoding="utf-8")
    assert f"isopod.worker.{OLD}.0: answering with {OLD}" in log
    shutil.rmtree(home)  # pytest keeps its folders, and this one is large


@pytest.fixture(params=["cold", "warm"])
def said(request: pytest.FixtureRequest, runs: dict[str, subprocess.CompletedProcess[str]]) -> str:
    run = runs[request.param]
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr == ""
    return run.stdout


def test_the_first_run_builds_and_trains_and_the_second_does_not(
    runs: dict[str, subprocess.CompletedProcess[str]],
) -> None:
    for name in (OLD, NEW):
        assert re.search(rf"✓ {name}   Python 3\.\d+\.\d+ +built in [\d.]+ s, trained in", runs["cold"].stdout)
        assert re.search(rf"✓ {name}   Python 3\.\d+\.\d+ +built before\n", runs["warm"].stdout)
    assert "installed" in runs["cold"].stdout
    assert "installed" not in runs["warm"].stdout


def test_the_application_has_no_framework(said: str) -> None:
    assert re.search(r"This application: Python [\d.]+, numpy [\d.]+, no scikit-learn\.", said)


def test_both_answer_what_they_have_not_seen(said: str) -> None:
    for name in (OLD, NEW):
        match = re.search(rf"✓ {name} .* ([\d.]+)% of 450 digits, ([\d.]+)% of 45 wines", said)
        assert match is not None
        assert float(match[1]) > 95
        assert float(match[2]) > 90


def test_a_digit_is_drawn_beside_what_they_say(said: str) -> None:
    lines = said.splitlines()
    (start,) = (number for number, line in enumerate(lines) if "Which digit is it?" in line)
    drawn = lines[start - 1 : start + 7]
    assert sum("█" in line for line in drawn) >= 3
    answers = [re.search(r"scikit-learn [\d.]+  (\d)   \d+% sure", line) for line in drawn]
    digits = [int(match[1]) for match in answers if match]
    right = re.search(r"the right answer +(\d)", "\n".join(drawn))
    assert right is not None
    assert len(digits) == 2
    assert digits[0] != digits[1], "it is one on which they differ"


def test_neither_reads_the_others_pickle(said: str) -> None:
    facts = re.findall(r"✗ (scikit-learn [\d.]+) fails on that of ([\d.]+):\n    │ (\w+): (.+)\n", said)
    assert [(here, there) for here, there, _, _ in facts] == [(OLD, NEW.split()[1]), (NEW, OLD.split()[1])]
    assert facts[0][2:] == ("ValueError", "<class 'numpy.random._mt19937.MT19937'> is not a known BitGenerator module.")
    assert facts[1][2:] == ("ModuleNotFoundError", "No module named 'sklearn.ensemble._gb_losses'")


def test_a_killed_worker_is_reported_and_replaced(said: str) -> None:
    killed = re.search(r"in the middle of a call: kill -9 (\d+)\n", said)
    assert killed is not None
    report = " ".join(line.strip(" │") for line in said.splitlines() if "│" in line)
    assert f"'{NEW}' (pid {killed[1]}) died while running a call" in report
    assert "killed by SIGKILL" in report
    assert f"answering with {NEW}" in report, "what it printed last"
    answered = re.search(r"✓ the next call was answered after (\d+) ms, by a new worker: pid (\d+)", said)
    assert answered is not None
    assert answered[2] != killed[1]
    assert f"✓ {OLD} noticed nothing: still pid" in said


def test_the_bill(said: str) -> None:
    calls = {name: int(count) for name, count in re.findall(r"  (scikit-learn [\d.]+) +[\d.]+ +(\d+) ", said)}
    assert set(calls) == {OLD, NEW}
    assert min(calls.values()) > 100
    rows = [line for line in said.splitlines() if line.startswith(("  scikit-learn", "  application"))]
    assert len(re.findall(r"\d+ MB", "\n".join(rows))) == 3
    crashes = re.findall(r"^  (scikit-learn [\d.]+) .* MB +(\d+) +[\d.]+ s$", said, re.MULTILINE)
    assert crashes == [(OLD, "0"), (NEW, "1")]


def test_it_fits_a_terminal(said: str) -> None:
    quoted = "    │"  # wrapped at the width of the terminal, if there is one
    assert max(len(line) for line in said.splitlines() if not line.startswith(quoted)) <= 80
