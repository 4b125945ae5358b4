"""One worker for each module of tests that only asks it questions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from batch_calls import Gate

import isopod

MODELS = Path(__file__).resolve().parent.parent / "models"


@pytest.fixture(scope="session")
def models() -> Path:
    return MODELS


@pytest.fixture(scope="module")
def swiss(_supervisor_at_rest: None) -> Iterator[isopod.Model]:
    """``tests/models/basic.py:Swiss``, shared by the tests of a module."""
    with isopod.load(MODELS / "basic.py:Swiss", timeout=60) as model:
        # What grows with use is grown now, so that each test's census finds it there: both arenas, the dispatcher.
        model(do="echo", x=model.empty("x", 8 << 20, "uint8"))
        model(do="large", x=8 << 20)
        model.submit(do="pid").result()
        yield model


@pytest.fixture
def gate(tmp_path: Path) -> Callable[[isopod.Model], Gate]:
    numbers = iter(range(100))
    return lambda model: Gate(model, tmp_path / f"gate-{next(numbers)}")


@pytest.fixture
def member(models: Path) -> str:
    return f"{models / 'fleets.py'}:Member"


@pytest.fixture
def seen(tmp_path: Path) -> Callable[[], tuple[str, Callable[[], int]]]:
    """A new file that counts how often a call was seen, and how to read it."""
    numbers = iter(range(1000))

    def make() -> tuple[str, Callable[[], int]]:
        path = tmp_path / f"seen-{next(numbers)}"
        return str(path), lambda: path.stat().st_size if path.exists() else 0

    return make
