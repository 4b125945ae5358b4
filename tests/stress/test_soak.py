"""The short form of the soak: every kind of call and every kind of harm, for half a minute."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT

GUARD = 240.0  # seconds: a hang guard


@pytest.mark.slow
@pytest.mark.timeout(GUARD + 30)
@pytest.mark.parametrize("fleet", [[], ["--workers", "2", "--standby", "1", "--retries", "2"]], ids=["one", "fleet"])
def test_nothing_is_lost_doubled_wrong_or_left_under_fire(tmp_path: Path, fleet: list[str]) -> None:
    figures = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "stress", "--quick", *fleet, "--json", str(figures)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        timeout=GUARD,
    )
    told = f"{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, told
    found = json.loads(figures.read_text())
    assert found["complete"], told
    assert found["violations"] == [], told
    kinds = {kind for kind, outcome, _ in found["outcomes"] if outcome == "answered"}
    assert kinds == {"call", "future", "map", "task"}, told
    assert sum(count for _, _, count in found["outcomes"]) == found["calls"] > 100, told
    assert sum(found["kills"].values()) > 0, told
    assert found["applications"]["killed"] > 0, told
