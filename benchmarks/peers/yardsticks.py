"""What each figure of isopod has beside it: the same call through a pipe, and a bare ping-pong of two semaphores.

Each has a child of its own, this file run as a module, which ends when its parent does.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import pickle
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import posix_ipc

_ROOT = Path(__file__).resolve().parent.parent.parent
_PATIENCE = 30.0  # seconds for a child to start
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class PipePeer:
    """Sends an array, waits for another one: ``multiprocessing.Pipe``, pickle protocol 5, nothing shared."""

    def __init__(self, connection: Any, pid: int) -> None:
        self._connection = connection
        self.pid = pid

    def __call__(self, array: Any) -> Any:
        self._connection.send_bytes(pickle.dumps(array, protocol=5))
        return pickle.loads(self._connection.recv_bytes())


class PingPong:
    """Wakes the other process and waits to be woken; carries nothing. The floor of whoever parks."""

    def __init__(self, there: posix_ipc.Semaphore, back: posix_ipc.Semaphore, pid: int) -> None:
        self._release, self._acquire = there.release, back.acquire
        self.pid = pid

    def __call__(self) -> None:
        self._release()
        while True:
            try:
                self._acquire()
            except posix_ipc.SignalError:  # Ctrl-C: the interpreter raises it before this waits again
                continue
            return


@contextlib.contextmanager
def pipe_peer(function: str) -> Iterator[PipePeer]:
    """A child that answers each array with what ``functions`` makes of it."""
    with _child("pipe", function) as (connection, pid):
        yield PipePeer(connection, pid)


@contextlib.contextmanager
def ping_pong() -> Iterator[PingPong]:
    """A child that answers each ring of one semaphore with one of another."""
    names = [f"/isopod-bench-{secrets.token_hex(8)}" for _ in range(2)]
    with contextlib.ExitStack() as stack, contextlib.ExitStack() as named:
        there, back = (posix_ipc.Semaphore(name, posix_ipc.O_CREX, mode=0o600, initial_value=0) for name in names)
        for semaphore in (there, back):
            stack.callback(semaphore.close)
            named.callback(semaphore.unlink)
        _, pid = stack.enter_context(_child("semaphores", *names))
        named.close()  # the child has opened both
        yield PingPong(there, back, pid)


@contextlib.contextmanager
def _child(*arguments: str) -> Iterator[tuple[Any, int]]:
    """A child of this file, once it says that it is ready; killed at the end."""
    ours, theirs = multiprocessing.Pipe()
    command = [sys.executable, "-m", "benchmarks.peers.yardsticks", str(theirs.fileno()), *arguments]
    with ours, subprocess.Popen(command, cwd=_ROOT, pass_fds=[theirs.fileno()], start_new_session=True) as child:
        try:
            theirs.close()
            if not ours.poll(_PATIENCE):
                raise TimeoutError(f"a child of the benchmark did not start: {' '.join(command)}")
            ours.recv_bytes()
            yield ours, child.pid
        finally:
            child.kill()


def _answer_pipe(connection: Any, name: str) -> None:
    from benchmarks import functions

    function: Callable[[Any], Any] = getattr(functions, name)
    connection.send_bytes(b"ready")
    while True:
        connection.send_bytes(pickle.dumps(function(pickle.loads(connection.recv_bytes())), protocol=5))


def _answer_semaphores(connection: Any, there: str, back: str) -> None:
    wait, ring = posix_ipc.Semaphore(there).acquire, posix_ipc.Semaphore(back).release
    connection.send_bytes(b"ready")
    while True:
        wait()
        ring()


def _main() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # nobody rings a semaphore to say that it died
    answers: dict[str, Callable[..., None]] = {"pipe": _answer_pipe, "semaphores": _answer_semaphores}
    with contextlib.suppress(EOFError, ConnectionError):  # the parent is gone
        answers[sys.argv[2]](Connection(int(sys.argv[1])), *sys.argv[3:])


if __name__ == "__main__":
    _main()
