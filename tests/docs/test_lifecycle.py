"""docs/lifecycle.md, and the drawings in docstrings, show the tables that the code runs."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType

import pytest
from repository import ROOT

from isopod.ipc import protocol
from isopod.runtime import circuit, lifecycle
from isopod.runtime.observe.phases import PHASES

CHAIN = re.compile(r"(\w+) ─+(\w+)─+▶ (?=(\w+))")  # the state that follows begins the next link

drawn = pytest.mark.parametrize("module", [lifecycle, circuit, protocol], ids=lambda module: module.__name__)


def drawing(module: ModuleType) -> list[str]:
    lines = [line for line in (module.__doc__ or "").splitlines() if "─" in line]
    assert lines
    return lines


@pytest.fixture
def diagrams() -> ModuleType:
    spec = importlib.util.spec_from_file_location("diagrams_tool", ROOT / "tools/diagrams.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_tables_say(diagrams: ModuleType) -> None:
    page = (ROOT / "docs/lifecycle.md").read_text(encoding="utf-8")
    assert page == diagrams.document(), "a table has changed: `make fix` (tools/diagrams.py) draws the page anew"


def test_the_page_of_phases_is_what_the_table_says(diagrams: ModuleType) -> None:
    page = (ROOT / "docs/phases.md").read_text(encoding="utf-8")
    assert page == diagrams.phases_document(), "a table has changed: `make fix` (tools/diagrams.py) draws the page anew"
    assert all(f"| {phase.text} |" in page for phase in PHASES)


def test_each_transition_has_an_arrow_in_its_diagram(diagrams: ModuleType) -> None:
    blocks = re.findall(r"^```mermaid\n(.*?)^```", diagrams.document(), re.MULTILINE | re.DOTALL)
    tables = (lifecycle.TRANSITIONS, circuit.TRANSITIONS, protocol.TRANSITIONS, protocol.TEMPLATE_TRANSITIONS)
    assert len(blocks) == len(tables)
    for block, table in zip(blocks, tables, strict=True):
        arrows = re.findall(r"^    (\w+) --> (\w+): (.+)$", block, re.MULTILINE)
        assert {(state, event): to for state, to, events in arrows for event in events.split(", ")} == table


@drawn
def test_a_drawing_in_a_docstring_names_states_and_events_of_its_table(module: ModuleType) -> None:
    known = {word for (state, event), to in module.TRANSITIONS.items() for word in (state, event, to)}
    assert set(re.findall(r"\w+", " ".join(drawing(module)).replace("─", " "))) <= known


@drawn
def test_each_arrow_of_a_drawing_is_in_its_table(module: ModuleType) -> None:
    links = [link for line in drawing(module) for link in CHAIN.findall(line)]
    assert len(links) >= 3
    assert [link for link in links if module.TRANSITIONS.get(link[:2]) != link[2]] == []
