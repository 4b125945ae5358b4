"""Bars for work that runs in several threads at once: environments being built, models being loaded.

With rich, on a terminal, one bar a task, redrawn in place and gone when all is done. Otherwise one plain line a task
and stage. Both are told the same things, so nobody who reports progress asks which one it is.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from isopod import BuildEvent
from isopod.cli.screen import Screen

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

Stages = Mapping[str, tuple[float, float, str]]
# Where in its bar a stage begins and ends, and how it is called.
_STAGES: Stages = {
    "python": (0.00, 0.00, "fetching Python"),
    "resolve": (0.00, 0.10, "resolving"),
    "wait": (0.00, 0.10, "waiting"),
    "download": (0.10, 0.60, "downloading"),
    "install": (0.60, 0.70, "installing"),
    "warm": (0.70, 0.85, "first imports"),
    "train": (0.85, 0.95, "training"),
    "start": (0.85, 0.95, "starting"),
    "ready": (1.00, 1.00, "ready"),
}


class Bars:
    """Progress of named tasks, on any ``Screen``. This one writes a line a stage; ``_LiveBars`` draws."""

    def __init__(self, screen: Screen, names: list[str], stages: Stages) -> None:
        self._screen = screen
        self._stages = stages
        self._width = max(map(len, names), default=0)
        self._lock = threading.Lock()
        self._stage = dict.fromkeys(names, "")
        self._began = time.monotonic()

    def tell(self, name: str, stage: str, message: str = "", done: int | None = None, total: int | None = None) -> None:
        """Say where a task is. Any thread may. A stage without a bar of its own ("done") is passed over."""
        with self._lock:
            if stage in self._stages:
                self._show(name, stage, message, done, total)
                self._stage[name] = stage

    def listener(self, name: str) -> Callable[[BuildEvent], None]:
        """Return what an environment's build is to call with its events."""

        def told(event: BuildEvent) -> None:
            if event.bytes_total:
                # the sizes first: what comes last is cut off where the terminal is narrow
                what = event.message.split(" (")[0]
                message = f"{_of(event.bytes_done or 0, event.bytes_total)}, {_lower(what)}"
                self.tell(name, event.stage, message, event.bytes_done, event.bytes_total)
            else:
                self.tell(name, event.stage, event.message, event.done, event.total)

        return told

    def _show(self, name: str, stage: str, message: str, done: int | None, total: int | None) -> None:
        if self._stage[name] != stage:
            seconds = time.monotonic() - self._began
            # of several messages in a stage only the first is shown, and so it must hold for all of them
            text = _lower(message) if stage in ("python", "resolve", "wait", "install") and message else ""
            self._screen.line(f"  {name:<{self._width}}  {seconds:5.1f} s  {text or self._stages[stage][2]}")


class _LiveBars(Bars):
    def __init__(self, screen: Screen, names: list[str], stages: Stages, rich: RichProgress) -> None:
        super().__init__(screen, names, stages)
        self._rich = rich
        self._tasks: dict[str, TaskID] = {
            name: rich.add_task(f"{name:<{self._width}}", total=1.0, doing="starting") for name in names
        }

    def _show(self, name: str, stage: str, message: str, done: int | None, total: int | None) -> None:
        begin, end, doing = self._stages[stage]
        share = done / total if done is not None and total else 0.0
        self._rich.update(
            self._tasks[name], completed=begin + (end - begin) * share, doing=_lower(message) or doing,
        )  # fmt: skip


@contextlib.contextmanager
def bars(screen: Screen, names: list[str], stages: Stages = _STAGES) -> Iterator[Bars]:
    """Show the progress of ``names`` while the block runs. Nothing else may write to the screen in it.

    ``stages``: where in its bar each begins and ends, from 0 to 1, and how it is called.
    """
    rich = _rich(screen) if screen.live else None
    if rich is None:
        yield Bars(screen, names, stages)
        return
    with rich:
        yield _LiveBars(screen, names, stages, rich)


def _lower(message: str) -> str:
    """As part of a line: names of packages and units keep their letters."""
    return message[:1].lower() + message[1:]


def _of(done: int, total: int) -> str:
    unit, size = ("GB", 1e9) if total >= 1e9 else ("MB", 1e6) if total >= 1e6 else ("kB", 1e3)
    digits = 1 if total < 10 * size else 0
    return f"{done / size:.{digits}f} of {total / size:.{digits}f} {unit}"


def _rich(screen: Screen) -> RichProgress | None:
    """Return rich's own progress display, None where rich (the extra ``cli``) is not installed."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
        from rich.table import Column
        from rich.text import Text
    except ImportError:
        return None

    class Seconds(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.elapsed or 0.0:5.1f} s", style="dim")

    # rich sees NO_COLOR by itself. A little narrower than the terminal: the "^C" that it echoes at the end of the last
    # bar must not wrap, or one line too few would be cleared
    console = Console(file=screen.stream, width=screen.width - 4, highlight=False)
    return Progress(
        TextColumn("  {task.description}", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=26, complete_style="cyan", finished_style="green"),
        Seconds(table_column=Column(no_wrap=True)),
        TextColumn("[dim]{task.fields[doing]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
        console=console,
        transient=True,
        expand=True,
    )
