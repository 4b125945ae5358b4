"""``isopod trace``: a timeline of a model that is asked a few times, or of a whole application."""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import isopod
from isopod import SpecError
from isopod.cli.asked import options_of, wish_of
from isopod.cli.screen import Screen
from isopod.runtime.bench.contenders import together
from isopod.runtime.bench.inputs import inputs_for
from isopod.runtime.observe import perfetto, recording

_VIEWER = "https://ui.perfetto.dev"


def run(screen: Screen, arguments: argparse.Namespace) -> int:
    """Record, say where it is, and return the exit code. Raises ``IsopodError``."""
    place = Path(arguments.output)
    perfetto.check(place)
    if arguments.program is not None:
        if arguments.model is not None or not arguments.program:
            raise SpecError("trace a model, or a command after --: isopod trace -o trace.json -- python app.py")
        return _run_program(screen, arguments.program, place)
    if arguments.model is None:
        raise SpecError("name a model, or a command after --: isopod trace -o trace.json -- python app.py")
    if arguments.calls < 1 or not 1 <= arguments.callers <= 256:
        raise SpecError("--calls is 1 or more, and --callers from 1 to 256")
    wish = wish_of(arguments)
    with isopod.trace(place):
        options = options_of(arguments)
        with isopod.load(arguments.model, problem=wish.problem, **options) as model:
            sizes = inputs_for(model, arguments.model, wish)
            samples = [sample for size in sizes for sample in size.samples]
            together(model, samples, arguments.callers, arguments.calls, 0.0, arguments.timeout)
    _tell(screen, place)
    return 0


def _run_program(screen: Screen, program: list[str], place: Path) -> int:
    """With our output left to it. Its signals are its own: Ctrl-C reaches it from the terminal, as it would us."""
    if shutil.which(program[0]) is None:
        raise SpecError(f"{program[0]} cannot be run: there is no such command")
    place.unlink(missing_ok=True)  # or it would be taken for another process's
    variables = {**os.environ, recording.VARIABLE: str(place.absolute())}
    try:
        with _signals() as heard, subprocess.Popen(program, env=variables) as process:
            code = _wait(process, heard)
    except OSError as error:
        raise SpecError(f"{program[0]} cannot be run: {error.strerror}") from None
    if place.exists():
        _tell(screen, place)
    else:
        screen.line(f"{screen.mark(None)} no trace: it loaded no model, or was killed before its end")
    return code if code >= 0 else 128 - code


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """What asks us to end, as bytes, while it does not end us. Raises ``OSError``."""
    with contextlib.ExitStack() as stack:
        heard, told = socket.socketpair()
        stack.enter_context(heard)
        stack.enter_context(told)
        told.setblocking(False)
        stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False))
        for number in (signal.SIGINT, signal.SIGTERM):
            # Not SIG_IGN, which the application would inherit; and does where whoever started us has set it: nohup, a
            # job in the background of a script.
            if signal.getsignal(number) is not signal.SIG_IGN:
                stack.callback(signal.signal, number, signal.signal(number, lambda *_: None))
        yield heard


def _wait(process: subprocess.Popen[bytes], heard: socket.socket) -> int:
    """Until the application ends: what asks us to is for it, which writes the trace at its own end.

    RACE lost signal: ``process.wait()`` would sleep on where one came just before it, or to a thread of numpy's.
    """
    end = os.pidfd_open(process.pid)
    try:
        while end not in select.select([end, heard.fileno()], [], [])[0]:
            if signal.SIGTERM in heard.recv(4096):
                process.send_signal(signal.SIGTERM)
    finally:
        os.close(end)
    return process.wait()


def _tell(screen: Screen, place: Path) -> None:
    told = _read(place)
    events, about = told["traceEvents"], told["otherData"]["isopod"]
    workers = sum(event["name"] == "process_name" for event in events) - 1
    crashes = sum(event["name"] == "crashed" for event in events)
    parts = [_count(about["calls"], "call"), _count(workers, "worker")]
    parts += [_count(crashes, "crash", "crashes")] if crashes else []
    parts += [f"the oldest {about['forgotten']:,} calls forgotten"] if about["forgotten"] else []
    screen.line(f"{screen.mark(True)} {place}: {', '.join(parts)}; open it in {_VIEWER}")


def _read(place: Path) -> Any:
    with gzip.open(place, "rt", encoding="utf-8") if place.suffix == ".gz" else place.open(encoding="utf-8") as file:
        return json.load(file)


def _count(number: int, one: str, several: str = "") -> str:
    return f"{number:,} {one if number == 1 else several or one + 's'}"
