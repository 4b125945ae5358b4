"""The tables, of made-up rows: who stands where, what a cell says, and that JSON loses nothing."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from benchmarks import cold_start
from benchmarks.measure import Summary
from benchmarks.peers import picture, report
from benchmarks.peers.conductor import Death
from benchmarks.peers.run import Row
from isopod.cli.screen import Screen
from isopod.runtime.startup import PARTS

MACHINE = {"processor": "an abacus", "cores": "2", "date": "2026-01-31"}


LEFT = ("2 processes", "1 other file")


def row(name: str, group: str, median: float, **options: object) -> Row:
    figures = {
        "1 KB small": Summary(median, 99.0, median / 2, 100),
        "16 MB full": Summary(median * 1000, 99.0, median * 500, 3),
    }
    return Row(name, group, figures=figures, seconds=0.25, **options)  # type: ignore[arg-type]


ROWS = [
    row("memcpy", "limit", 0.5),
    row("slow|one", "peer", 1234.5, version="slow 1.2", death=Death("hangs", None, "hangs", LEFT)),
    row("quick", "peer", 4.0, death=Death("EOFError", 0.0031, "BrokenPipeError", ())),
    row("isopod", "isopod", 40.0, death=Death("WorkerCrashed", 0.004, "answered", ())),
    Row("absent", "peer", reason="ModuleNotFoundError: No module named 'absent'"),
]  # fmt: skip


def test_isopod_comes_first_then_the_quickest_and_the_machine_s_limits_last() -> None:
    small = report.tables(ROWS)[0]
    assert [cells[0] for cells in small.rows] == ["isopod", "quick", "slow|one", "memcpy"]


def test_a_figure_is_a_median_and_a_minimum_and_what_was_not_measured_is_empty() -> None:
    small, full = report.tables(ROWS)[:2]
    assert small.rows[1][1:] == ["4.0 (2.0)", "", "", "", ""]
    assert full.rows[2][1:] == ["", "", "", "1,234,500 (617,250)"]


def test_lives() -> None:
    lives = {cells[0]: cells[1:] for cells in report.tables(ROWS)[2].rows}
    assert lives["isopod"] == ["", "0.2 s", "WorkerCrashed, 4 ms", "works", "nothing"]
    assert lives["quick"] == ["", "0.2 s", "EOFError, 3 ms", "BrokenPipeError", "nothing"]
    assert lives["slow|one"] == ["slow 1.2", "0.2 s", "hangs", "hangs", "2 processes, 1 other file"]
    assert set(lives) == {"isopod", "quick", "slow|one"}


def test_who_is_absent_has_a_reason() -> None:
    assert report.tables(ROWS)[3].rows == [["absent", "ModuleNotFoundError: No module named 'absent'"]]


def test_nothing_measured_makes_no_table() -> None:
    assert report.tables([]) == []


def test_markdown() -> None:
    lines = report.markdown(ROWS, MACHINE, "peers.svg").splitlines()
    assert "- processor: an abacus" in lines
    assert "![The same figures as a picture](peers.svg)" in lines
    assert "| quick | 4.0 (2.0) |  |  |  |  |" in lines
    assert "| slow\\|one |  |  |  | 1,234,500 (617,250) |" in lines
    widths = {line.replace("\\|", "").count("|") for line in lines if line.startswith("|")}
    assert widths == {7, 6, 3}  # a table's lines have as many cells as its head


def test_the_terminal_shows_each_row() -> None:
    stream = io.StringIO()
    report.show(Screen(stream), ROWS, MACHINE)
    text = stream.getvalue()
    assert all(one.name in text for one in ROWS)
    assert "an abacus" in text


def test_json_loses_nothing(tmp_path: Path) -> None:
    report.dump(ROWS, MACHINE, tmp_path / "peers.json")
    assert report.load(tmp_path / "peers.json") == (ROWS, MACHINE)


@pytest.fixture(scope="module")
def _fonts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """matplotlib keeps the files of its fonts open for good, from the first picture on."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    picture.draw(ROWS, "a machine", tmp_path_factory.mktemp("fonts") / "first.png")


@pytest.mark.usefixtures("_fonts")
@pytest.mark.parametrize("form", ["svg", "png"])
def test_the_picture(form: str, tmp_path: Path) -> None:
    picture.draw(ROWS, "a machine", tmp_path / f"peers.{form}")
    drawn = (tmp_path / f"peers.{form}").read_bytes()
    picture.draw(ROWS, "a machine", tmp_path / f"again.{form}")
    assert (tmp_path / f"again.{form}").read_bytes() == drawn
    assert drawn[1:4] == b"PNG" if form == "png" else b"<svg" in drawn


def test_the_parts_of_a_start_are_those_that_workers_tell_of() -> None:
    assert set(cold_start.PARTS) <= set(PARTS)
