"""Progress of several tasks: lines in a pipe, bars on a terminal, and the same calls for both."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from demo.test_screen import Terminal

from isopod import BuildEvent
from isopod.cli.progress import bars
from isopod.cli.screen import Screen

EVENTS = [
    BuildEvent("resolve", "Resolved 6 packages in 20ms", 6, 6, 0.1),
    BuildEvent("download", "Downloading scipy (33.0MiB)", 0, 1, 0.2),
    BuildEvent("download", "Downloaded scipy", 1, 1, 0.9),
    BuildEvent("install", "Installed 6 packages in 10ms", 6, 6, 1.0),
    BuildEvent("warm", "import scipy", 0, 2, 1.1),
    BuildEvent("warm", "import sklearn", 1, 2, 1.4),
    BuildEvent("done", "using the cache", None, None, 1.5),
]


@pytest.fixture(autouse=True)
def _a_plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def tell_all(listener: Callable[[BuildEvent], None]) -> None:
    for event in EVENTS:
        listener(event)


def build(stream: io.StringIO, names: list[str]) -> str:
    """Each name is built in a thread of its own."""
    with bars(Screen(stream), names) as shown:
        with ThreadPoolExecutor(len(names)) as pool:
            told = [pool.submit(tell_all, shown.listener(name)) for name in names]
        for future in told:
            future.result()
        for name in names:
            shown.tell(name, "ready")
    return stream.getvalue()


def test_a_pipe_gets_one_line_a_task_and_stage() -> None:
    lines = build(io.StringIO(), ["old", "newer"]).splitlines()
    for name in ("old", "newer"):
        own = [re.sub(r" +[\d.]+ s  ", ": ", line.strip()) for line in lines if line.split()[0] == name]
        assert own == [
            f"{name}: resolved 6 packages in 20ms",
            f"{name}: downloading",
            f"{name}: installed 6 packages in 10ms",
            f"{name}: first imports",
            f"{name}: ready",
        ]
    assert len(lines) == 10
    assert "\x1b" not in "".join(lines)


def test_without_rich_a_terminal_gets_the_lines_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert "  old    " in build(Terminal(), ["old"])
    assert "\x1b" not in build(Terminal(), ["old"])


def test_a_terminal_gets_bars_that_are_gone_at_the_end() -> None:
    pytest.importorskip("rich", reason="rich is not installed")
    written = build(Terminal(), ["old", "newer"])
    assert "━" in written
    assert "ready" in written
    assert written.rstrip().endswith("\x1b[2K")  # the last thing is that their lines are cleared


def test_no_color_leaves_the_bars_and_takes_the_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich", reason="rich is not installed")
    monkeypatch.setenv("NO_COLOR", "1")
    written = build(Terminal(), ["old"])
    assert "━" in written
    assert not re.search(r"\x1b\[(?:\d+;)*3\d", written)


def test_an_error_in_the_block_comes_out_and_gives_the_cursor_back() -> None:
    pytest.importorskip("rich", reason="rich is not installed")
    stream = Terminal()

    def fail() -> None:
        with bars(Screen(stream), ["old"]) as shown:
            shown.tell("old", "resolve")
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        fail()
    assert stream.getvalue().rindex("\x1b[?25h") > stream.getvalue().rindex("\x1b[?25l")
