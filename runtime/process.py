"""One worker process: how it is started, how it is ended, and the descriptors by which it is watched.

Workers are spawned from one long-lived thread, because a parent-death signal, should one have to serve (see the
child's ``guard``), follows the thread that spawned it. Everything is created under an exit stack: either a whole
``WorkerProcess`` comes out, or nothing stays.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import isopod.ipc
from isopod.ipc.errors import SpecError

STACKS_SIGNAL = signal.SIGRTMAX - 1  # as in the child's bootstrap
_READ_CHUNK = 65_536
# Reasons to end a worker that are no fault of anybody's: such an end is not reported as a crash.
CLOSED, GARBAGE, GIVEN_UP, APPLICATION_ENDED, REPLACED = (
    "the model was closed", "its model was garbage", "its load was given up", "the application ended",
    "a new version took its place",
)  # fmt: skip
FAREWELLS = frozenset((CLOSED, GARBAGE, GIVEN_UP, APPLICATION_ENDED, REPLACED))

# RACE fork in mid-change: held while a worker's descriptors are opened or closed, and while this process is forked. So
# the copy knows which of them it has, whoever was at work on them, and even before a model or a session knows of them.
_changing = threading.Lock()
_running: weakref.WeakSet[WorkerProcess] = weakref.WeakSet()


@dataclass(eq=False)
class WorkerProcess:
    """A running child. ``pidfd`` is readable once it is dead; ``control`` is our end of its channel."""

    popen: subprocess.Popen[bytes]
    pidfd: int
    control: socket.socket
    stdout: int
    stderr: int
    faults: int
    lifeline: int  # never written to: its end, with this process, is what the kernel kills the worker's group for
    inherited_peak: int  # kilobytes; see ``reap``
    end_reason: str = field(default="")
    _putting_away: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def pid(self) -> int:
        return self.popen.pid

    def kill(self, reason: str = "") -> None:
        """End it now. The first reason given is the one that is reported."""
        if reason and not self.end_reason:
            self.end_reason = reason
        self._signal(signal.SIGKILL)

    def dump_stacks(self) -> None:
        """Have it write the Python stack of each thread into ``faults``."""
        self._signal(STACKS_SIGNAL)

    def kill_group(self) -> None:
        """End whatever it forked. Only between its death and ``reap``: until then its number belongs to nobody else."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def reap(self) -> tuple[int | None, int]:
        """(exit status, peak memory in bytes), after its death. The status is None if it was taken by somebody else.

        A process takes over the peak of the one that it was forked from, so what is not above ours tells nothing: 0.
        """
        try:
            _, status, usage = os.wait4(self.pid, 0)
        except ChildProcessError:
            self.popen.returncode = 0
            return None, 0
        self.popen.returncode = os.waitstatus_to_exitcode(status)
        return self.popen.returncode, usage.ru_maxrss * 1024 if usage.ru_maxrss > self.inherited_peak else 0

    def close(self) -> None:
        """Give all descriptors back."""
        with _changing:
            with self._putting_away:
                pidfd, self.pidfd = self.pidfd, -1
            self._close(pidfd)

    def let_go_after_fork(self) -> None:
        """In a forked copy of the application: what the worker lives by is the original's, and hides its death here."""
        self._putting_away = threading.Lock()  # it may have been held by a thread that there is no copy of
        pidfd, self.pidfd = self.pidfd, -1
        self._close(pidfd)

    def _close(self, pidfd: int) -> None:
        _running.discard(self)
        self.control.close()
        for descriptor in (self.lifeline, pidfd, self.stdout, self.stderr, self.faults):
            if descriptor >= 0:
                os.close(descriptor)
        self.lifeline = self.stdout = self.stderr = self.faults = -1

    def _signal(self, number: int) -> None:
        # Once put away, the descriptor's number may be that of another worker's: RACE late kill.
        with self._putting_away, contextlib.suppress(ProcessLookupError):  # it is dead already
            if self.pidfd >= 0:
                signal.pidfd_send_signal(self.pidfd, number)

    def discard(self) -> None:
        """End a process that nobody watches, and put it away."""
        self.kill()
        self.reap()
        self.close()


def read_available(descriptor: int) -> bytes | None:
    """What can be read without waiting; empty at the end, None if there is nothing just now."""
    try:
        return os.read(descriptor, _READ_CHUNK)
    except BlockingIOError:
        return None


def spawn(python: Path, variables: Mapping[str, str], bytecode: Path) -> WorkerProcess:
    """Start a worker on a base interpreter; it keeps our modules' bytecode in the folder ``bytecode``.

    ``variables`` are its whole environment.

    Raises ``SpecError`` where the interpreter cannot be executed.
    """
    with _changing, contextlib.ExitStack() as failed, contextlib.ExitStack() as always:
        ours, theirs = socket.socketpair()
        failed.callback(ours.close)
        always.callback(theirs.close)
        ours.setblocking(False)
        pipes = []
        for _ in range(3):
            read, write = os.pipe()
            failed.callback(os.close, read)
            always.callback(os.close, write)
            os.set_blocking(read, False)
            pipes.append((read, write))
        (stdout, stdout_w), (stderr, stderr_w), (faults, faults_w) = pipes
        lifeline_r, lifeline = os.pipe()
        always.callback(os.close, lifeline_r)
        failed.callback(os.close, lifeline)
        command = [
            str(python),
            "-I",
            "-S",
            *(["-B"] if sys.dont_write_bytecode else []),
            str(folder_of("opeworker") / "bootstrap.py"),
        ]
        command += [str(theirs.fileno()), str(faults_w), str(os.getpid()), str(folder_of("ipc")), str(bytecode)]
        command += [str(lifeline_r)]
        try:
            popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout_w,
                stderr=stderr_w,
                pass_fds=(theirs.fileno(), faults_w, lifeline_r),
                start_new_session=True,
                env=variables,
            )
        except OSError as error:
            raise SpecError(f"the interpreter {python} cannot be started: {error.strerror}") from error
        failed.callback(popen.wait)
        failed.callback(popen.kill)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        process = WorkerProcess(popen, os.pidfd_open(popen.pid), ours, stdout, stderr, faults, lifeline, peak)
        _running.add(process)
        failed.pop_all()
        return process


def folder_of(room: str) -> Path:
    """Where ``ipc`` or ``opeworker`` lies: side by side when installed, and in the source tree alike."""
    return Path(next(iter(isopod.ipc.__path__))).resolve().parent / room


def _after_fork() -> None:
    _changing.release()
    for process in list(_running):
        process.let_go_after_fork()


os.register_at_fork(before=_changing.acquire, after_in_parent=_changing.release, after_in_child=_after_fork)
