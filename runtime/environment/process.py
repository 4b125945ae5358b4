"""Run one program of a build: stream its lines, and leave no process behind, whatever happens.

The program gets a session of its own. So Ctrl-C reaches only us and we end the program, with all it started, in one
place; nothing that a package starts while it is imported outlives the build.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

_GRACE_SECONDS = 2.0
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Ended:
    """How a program ended: ``code`` as in ``subprocess`` (negative for a signal), and whether its time was up."""

    code: int
    timed_out: bool


def run(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    lock: int | None,
    line: Callable[[str], None],
    seconds: float | None = None,
) -> Ended:
    """Run ``command`` in ``/`` with both outputs as one stream, and call ``line`` for each line of it.

    ``lock``, if any, is a descriptor that the program inherits: see ``Store.lock``. After ``seconds`` it is ended.
    Raises ``OSError`` if it cannot be started; an exception out of ``line``, or Ctrl-C, ends it and goes on.
    """
    with contextlib.ExitStack() as stack:
        # "/": the resolver reads uv.toml and pyproject.toml from its working directory and those above
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/",
            env=dict(environment), start_new_session=True, pass_fds=() if lock is None else (lock,),
        )  # fmt: skip
        stack.callback(_end, child)
        assert child.stdout is not None
        pipe = child.stdout.fileno()
        os.set_blocking(pipe, False)
        exited = os.pidfd_open(child.pid)
        stack.callback(os.close, exited)
        in_time = _follow(pipe, exited, _Lines(line), seconds)
        if in_time:
            # dead but not yet waited for, so its number still names its group and nothing else
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        _signal(child, signal.SIGKILL)
        return Ended(child.wait(), timed_out=not in_time)


class _Lines:
    """Cuts a stream of bytes into lines."""

    def __init__(self, line: Callable[[str], None]) -> None:
        self._line = line
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *whole, self._rest = (self._rest + data).split(b"\n")
        for raw in whole:
            self._line(raw.decode(errors="replace").rstrip())

    def close(self) -> None:
        if self._rest:
            self.feed(b"\n")


def _follow(pipe: int, exited: int, lines: _Lines, seconds: float | None) -> bool:
    """Read until the program has exited; False if its time was up before. Not until end of file: something that the
    program started, and that holds the pipe open, must not hold us."""
    end = None if seconds is None else time.monotonic() + seconds
    poll = select.poll()
    poll.register(exited, select.POLLIN)
    poll.register(pipe, select.POLLIN)
    while True:
        left = None if end is None else end - time.monotonic()
        if left is not None and left <= 0:
            return False
        ready = dict(poll.poll(None if left is None else left * 1000))
        if pipe in ready and not _drain(pipe, lines):
            poll.unregister(pipe)
        if exited in ready:
            _drain(pipe, lines)
            lines.close()
            return True


def _drain(pipe: int, lines: _Lines) -> bool:
    """Read what is there; False at end of file."""
    while True:
        try:
            data = os.read(pipe, _CHUNK)
        except BlockingIOError:
            return True
        if not data:
            return False
        lines.feed(data)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a program that was left by an exception; does nothing to one that was waited for."""
    if child.returncode is None:
        _signal(child, signal.SIGTERM)  # uv removes its temporary files on it
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_GRACE_SECONDS)
    if child.returncode is None:
        _signal(child, signal.SIGKILL)
        child.wait()
    if child.stdout is not None:
        child.stdout.close()


def _signal(child: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)
