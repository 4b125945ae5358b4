"""Kill a worker in the middle of a call, and know that it was in the middle: no clock is involved."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import isopod

_GIVEN_UP = b"-"
_PATIENCE = 60.0  # seconds; only a fault of ours makes anybody wait that long


@contextlib.contextmanager
def lobby() -> Iterator[Path]:
    """Yield a named pipe, through which a model says that a call has reached it."""
    with tempfile.TemporaryDirectory(prefix="isopod-demo-") as folder:
        path = Path(folder) / "lobby"
        os.mkfifo(path, 0o600)
        yield path


def kill_in_mid_call(model: isopod.Model, path: Path) -> isopod.WorkerCrashed | None:
    """Call ``model`` so that it holds, end its worker with SIGKILL from a thread, and return what the call raised.

    None is returned only if the call was answered, which would be a fault.
    """
    victim = model.health.pid or 0
    with contextlib.ExitStack() as stack:
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # at once, though nobody writes yet
        stack.callback(os.close, reader)

        def strike() -> None:
            waiting = select.poll()
            waiting.register(reader, select.POLLIN)
            waiting.poll()
            if os.read(reader, 64) not in (b"", _GIVEN_UP):
                os.kill(victim, signal.SIGKILL)

        striker = threading.Thread(target=strike, name="isopod-demo-striker")
        striker.start()
        stack.callback(striker.join)
        writer = os.open(path, os.O_WRONLY)
        stack.callback(os.close, writer)
        stack.callback(os.write, writer, _GIVEN_UP)  # should the call fail before it got there
        try:
            model(hold=True, timeout=_PATIENCE)
        except isopod.WorkerCrashed as crash:
            return crash
    return None
