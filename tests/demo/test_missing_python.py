"""``isopod demo`` where a Python for its models is missing: it is fetched if that is asked for, and else it says so."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from isopod import EnvironmentBuildError, SpecError
from isopod.cli.screen import Screen
from isopod.demo import pickles
from isopod.runtime.environment import Interpreter, Reporter, download
from isopod.runtime.environment.interpreter import MissingPython
from isopod.runtime.environment.versions import PythonRequest


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """On a machine without any Python that suits, which can fetch none: what was to be fetched."""
    asked: list[str] = []

    def missing(request: object) -> Interpreter:
        raise MissingPython(f"no Python that satisfies {request!r}")

    def fetch(wanted: PythonRequest, reporter: Reporter) -> None:
        asked.append(wanted.text or "")
        raise EnvironmentBuildError("the mirror does not answer")

    monkeypatch.setattr(download, "find", missing)
    monkeypatch.setattr(download, "_download", fetch)
    monkeypatch.setenv("ISOPOD_HOME", str(tmp_path))
    return asked


def test_it_is_fetched_before_any_work_where_that_is_asked_for(
    fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(download.SWITCH, "1")
    with pytest.raises(EnvironmentBuildError, match="the mirror does not answer"):
        pickles.run(Screen(io.StringIO()))
    assert fetched == [pickles.versions()[0].env.python]


def test_it_is_told_of_where_nothing_may_be_fetched(fetched: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(download.SWITCH, raising=False)
    with pytest.raises(SpecError, match="no Python that satisfies '>=3"):
        pickles.run(Screen(io.StringIO()))
    assert fetched == []
