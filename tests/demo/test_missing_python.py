"""``isopod demo`` on machines with few Pythons: it takes what runs on them, else what it needs is fetched, if asked."""

from __future__ import annotations

import io
import re
import shutil
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from pythons import need

from isopod import EnvironmentBuildError, SpecError
from isopod.cli.screen import Screen
from isopod.demo import pickles
from isopod.runtime.environment import Interpreter, Reporter, download, interpreter
from isopod.runtime.environment.discovery import candidates
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


Only = Callable[..., None]


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Only:
    """Make this a machine that has these Pythons, and not even our own."""

    def have(*minors: str) -> None:
        for minor in minors:
            need(minor)
        wanted = [tuple(map(int, minor.split("."))) for minor in minors]
        here = [candidate for candidate in candidates() if (candidate.hint or ())[:2] in wanted]
        monkeypatch.setattr(interpreter, "candidates", lambda: iter(here))
        unseen = types.SimpleNamespace(version_info=sys.version_info, implementation=sys.implementation, executable="")
        monkeypatch.setattr(interpreter, "sys", unseen)

    return have


@pytest.mark.parametrize(
    ("minors", "pair"),
    [
        (["3.11"], ("1.2.2", "1.9.1")),
        (["3.10", "3.13"], ("1.2.2", "1.9.1")),
        (["3.10"], ("1.2.2", "1.7.2")),
        (["3.8", "3.10"], ("1.2.2", "1.7.2")),
        (["3.12"], ("1.3.2", "1.9.1")),
        (["3.12", "3.13"], ("1.3.2", "1.9.1")),
        (["3.13"], ("1.2.2", "1.9.1")),  # of which one is missing, and told of
    ],
    ids="-".join,
)
def test_it_takes_what_the_pythons_of_the_machine_can_run(only: Only, minors: list[str], pair: tuple[str, str]) -> None:
    only(*minors)
    assert tuple(version.name.removeprefix("scikit-learn ") for version in pickles.versions()) == pair


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(600)
@pytest.mark.parametrize("minor", ["3.10", "3.12"])
def test_it_holds_with_one_python_of_another_release(
    only: Only, minor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOPOD_HOME", str(tmp_path))
    only(minor)
    out = io.StringIO()
    assert pickles.run(Screen(out)) == 0, out.getvalue()
    said = out.getvalue()
    assert len(re.findall(rf"✓ scikit-learn [\d.]+   Python {re.escape(minor)}\.\d+ +built in", said)) == 2
    assert len(re.findall(r"✗ scikit-learn [\d.]+ fails on that of ", said)) == 2
    shutil.rmtree(tmp_path)  # pytest keeps its folders, and this one is large
