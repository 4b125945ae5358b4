"""The screen: what it colours, wraps and aligns, and what becomes of it in a pipe."""

from __future__ import annotations

import io

import pytest

from isopod.cli.screen import Screen, amount, table


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _a_plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_a_terminal_is_coloured_and_a_pipe_is_not() -> None:
    assert Screen(Terminal()).style("text", "bold", "red") == "\x1b[1;31mtext\x1b[0m"
    assert Screen(io.StringIO()).style("text", "bold") == "text"


def test_no_color_and_a_dumb_terminal_are_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    dumb = Screen(Terminal())
    assert not dumb.live
    assert not dumb.colour
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert Screen(Terminal()).live
    assert Screen(Terminal()).style("text", "bold") == "text"


def test_an_empty_no_color_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "")
    assert Screen(Terminal()).colour


def test_a_stream_that_holds_no_signs_gets_letters() -> None:
    raw = io.BytesIO()
    screen = Screen(io.TextIOWrapper(raw, encoding="ascii"))
    screen.line(f"{screen.mark(True)} 5 µs é")
    assert raw.getvalue() == b"ok 5 us ?\n"


def test_a_quote_goes_on_in_the_next_line() -> None:
    stream = io.StringIO()
    screen = Screen(stream)
    screen.quote(["  " + "word " * 40, ""], "red")
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= screen.width
    assert lines[0].startswith("    │   word")
    assert lines[1].startswith("    │     word")
    assert "".join(lines).count("word") == 40
    assert lines[-1] == "    │ "


def test_a_table_is_aligned() -> None:
    stream = io.StringIO()
    table(Screen(stream), [("", "n"), ("long name", "1"), ("name", "100")])
    assert stream.getvalue() == "               n\n  long name    1\n  name       100\n"


@pytest.mark.parametrize(("size", "text"), [(0, "0 MB"), (207_400_000, "207 MB"), (4_700_000_000, "4.7 GB")])
def test_amounts(size: int, text: str) -> None:
    assert amount(size) == text
