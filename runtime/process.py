"""One worker process: how it is started, how it is ended, and the descriptors by which it is watched.

Workers are spawned from one long-lived thread, because a parent-death signal, should one have to serve (see the
child's ``guard``), follows the thread that spawned it. Everything is created under an exit stack: either a whole
``WorkerProcess`` comes out, or nothing stays. One that a template forks is made in ``template``.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import isopod.ipc
from isopod.ipc.errors import SpecError
from isopod.runtime.resources import Cpus, listed

STACKS_SIGNAL = signal.SIGRTMAX - 1  # as in the child's guard
_READ_CHUNK = 65_536
_WHOLE_GROUP = 1 << 2  # PIDFD_SIGNAL_PROCESS_GROUP, <linux/pidfd.h>
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
    """A worker and our ends of everything that it shares with us. ``pidfd`` is readable once it is dead.

    The ends are there first; ``born`` is told which process has the others. ``adopted``: it is no child of ours.
    ``pid`` is where the model runs: another process than the one that was born, where it may start some (``moved``).
    """

    control: socket.socket
    stdout: int
    stderr: int
    faults: int
    lifeline: int  # never written to: its end, with this process, is what the kernel kills the worker's group for
    spawned_ns: int = 0  # when it was asked for, on CLOCK_MONOTONIC, which the worker reads, too
    pid: int = 0
    group: int = 0  # the process that was born, which leads its group
    pidfd: int = -1
    first: int = -1  # the process whose end is that of all others, if there are any
    adopted: bool = False
    cpus: Cpus | None = None  # the processors that it was given, None for all of ours
    end_reason: str = field(default="")
    _reaper: Callable[[], tuple[int | None, int]] | None = field(default=None, repr=False)
    _putting_away: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def born(self, pid: int, pidfd: int, reaper: Callable[[], tuple[int | None, int]]) -> None:
        """There is a process. ``reaper`` is what ``reap`` calls."""
        self.pid, self.group, self.pidfd, self._reaper = pid, pid, pidfd, reaper

    def moved(self, first: int, pid: int) -> None:
        """What was born has forked two processes, and waits for them: the model runs in ``pid``, and all that it starts
        ends with ``first``. Raises ``OSError`` where they are not its own.
        """
        pidfd = os.pidfd_open(first)
        children = [stat_of(one) for one in (first, pid)]
        if any(child is None or child.parent != self.group for child in children):
            os.close(pidfd)
            raise ProcessLookupError("it named processes that are not its own")
        self.first, self.pid = pidfd, pid

    @property
    def may_start(self) -> bool:
        """Whether the model may start processes of its own, which no group or parent tells of."""
        return self.first >= 0

    def kill(self, reason: str = "") -> None:
        """End it now. The first reason given is the one that is reported."""
        if reason and not self.end_reason:
            self.end_reason = reason
        if self.may_start:  # what was born ends when all others have; if somebody has stopped it, it goes on
            self._signal(signal.SIGKILL, first=True)
            self._signal(signal.SIGCONT)
        else:
            self._signal(signal.SIGKILL)

    def dump_stacks(self) -> None:
        """Have it write the Python stack of each thread into ``faults``."""
        self._signal(STACKS_SIGNAL)

    def kill_group(self) -> None:
        """End whatever it forked. Between its death and ``reap``: until then its number belongs to nobody else."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self.adopted:  # somebody else may have reaped it, so its number proves nothing
                try:
                    signal.pidfd_send_signal(self.pidfd, signal.SIGKILL, None, _WHOLE_GROUP)
                    return
                except OSError as error:
                    if error.errno != errno.EINVAL or not _is_zombie(self.group):  # a kernel before 6.9
                        return
            os.killpg(self.group, signal.SIGKILL)

    def reap(self) -> tuple[int | None, int]:
        """(exit status, peak memory in bytes), after its death.

        The status is None if it was taken by somebody else, the peak 0 where it is not known.
        """
        return (None, 0) if self._reaper is None else self._reaper()

    def close(self) -> None:
        """Give all descriptors back."""
        with _changing:
            with self._putting_away:
                pidfds, self.pidfd, self.first = (self.pidfd, self.first), -1, -1
            self._close(pidfds)

    def let_go_after_fork(self) -> None:
        """In a forked copy of the application: what the worker lives by is the original's, and hides its death here."""
        self._putting_away = threading.Lock()  # it may have been held by a thread that there is no copy of
        pidfds, self.pidfd, self.first = (self.pidfd, self.first), -1, -1
        self._close(pidfds)

    def _close(self, pidfds: tuple[int, int]) -> None:
        _running.discard(self)
        self.control.close()
        self._close_lifeline()
        for descriptor in (*pidfds, self.stdout, self.stderr, self.faults):
            if descriptor >= 0:
                os.close(descriptor)
        self.stdout = self.stderr = self.faults = -1

    def _close_lifeline(self) -> None:
        lifeline, self.lifeline = self.lifeline, -1
        if lifeline >= 0:
            os.close(lifeline)

    def _signal(self, number: int, *, first: bool = False) -> None:
        # Once put away, the descriptor's number may be that of another worker's: RACE late kill.
        with self._putting_away, contextlib.suppress(ProcessLookupError):  # it is dead already
            pidfd = self.first if first else self.pidfd
            if pidfd >= 0:
                signal.pidfd_send_signal(pidfd, number)

    def discard(self) -> None:
        """End a process that nobody watches, and put it away."""
        self.kill()
        self.reap()
        self.close()


def _is_zombie(pid: int) -> bool:
    found = stat_of(pid)
    return found is not None and found.state == b"Z"


class Stat(NamedTuple):
    """Of a process, from proc(5): ``status`` as of ``waitpid``, once it is dead."""

    state: bytes
    parent: int
    status: int


def stat_of(pid: int) -> Stat | None:
    """None if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return Stat(fields[0], int(fields[1]), int(fields[-1]))


def read_available(descriptor: int) -> bytes | None:
    """What can be read without waiting; empty at the end, None if there is nothing just now."""
    try:
        return os.read(descriptor, _READ_CHUNK)
    except BlockingIOError:
        return None


@contextlib.contextmanager
def both_ends() -> Iterator[tuple[WorkerProcess, tuple[int, ...]]]:
    """A worker that is not born yet, and its own ends, for as long as the block runs: control channel, output, errors,
    stacks, lifeline. An exception out of the block closes ours, too."""
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
        lifeline_r, lifeline = os.pipe()
        always.callback(os.close, lifeline_r)
        failed.callback(os.close, lifeline)
        (stdout, _), (stderr, _), (faults, _) = pipes
        process = WorkerProcess(ours, stdout, stderr, faults, lifeline, time.monotonic_ns())
        _running.add(process)
        failed.callback(_running.discard, process)
        yield process, (theirs.fileno(), *(write for _, write in pipes), lifeline_r)
        failed.pop_all()


def spawn(
    python: Path,
    variables: Mapping[str, str],
    bytecode: Path,
    role: Literal["worker", "template"] = "worker",
    cpus: Cpus | None = None,
) -> WorkerProcess:
    """Start a worker, or a template of workers, on a base interpreter; our modules' bytecode is kept in ``bytecode``.

    ``variables`` are its whole environment, ``cpus`` its processors (None: all of ours), which it has before it is told
    what to load. Raises ``SpecError`` where the interpreter cannot be executed, ``OSError`` where they are not there.
    """
    with both_ends() as (process, (control, stdout, stderr, faults, lifeline)):
        command = [str(python), "-I", "-S", *(["-B"] if sys.dont_write_bytecode else [])]
        command += [str(folder_of("opeworker") / "bootstrap.py"), role, str(control), str(faults), str(lifeline)]
        command += [str(folder_of("ipc")), str(bytecode)]
        try:
            popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                pass_fds=(control, faults, lifeline),
                start_new_session=True,
                env=variables,
            )
        except OSError as error:
            raise SpecError(f"the interpreter {python} cannot be started: {error.strerror}") from error
        try:
            # Not by way of this thread, which passes its own on: whoever asks for some, even for all that it has, has
            # no others ever again, also where a container is given more.
            if cpus is not None:
                _move(popen.pid, cpus)
                process.cpus = cpus
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            process.born(popen.pid, os.pidfd_open(popen.pid), functools.partial(_reap, popen, peak))
        except OSError:  # out of descriptors, or of processors
            popen.kill()
            popen.wait()
            raise
        return process


def _move(pid: int, cpus: Cpus) -> None:
    try:
        os.sched_setaffinity(pid, cpus)
    except OSError as error:
        raise OSError(error.errno, f"it cannot run on the processors {listed(cpus)}: {error.strerror}") from None


def _reap(popen: subprocess.Popen[bytes], inherited_peak: int) -> tuple[int | None, int]:
    """A process takes over the peak (in kilobytes) of the one that it was forked from, so what is not above ours tells
    nothing: 0."""
    try:
        _, status, usage = os.wait4(popen.pid, 0)
    except ChildProcessError:
        popen.returncode = 0
        return None, 0
    popen.returncode = os.waitstatus_to_exitcode(status)
    return popen.returncode, usage.ru_maxrss * 1024 if usage.ru_maxrss > inherited_peak else 0


def folder_of(room: str) -> Path:
    """Where ``ipc`` or ``opeworker`` lies: side by side when installed, and in the source tree alike."""
    return Path(next(iter(isopod.ipc.__path__))).resolve().parent / room


def _after_fork() -> None:
    _changing.release()
    for process in list(_running):
        process.let_go_after_fork()


os.register_at_fork(before=_changing.acquire, after_in_parent=_changing.release, after_in_child=_after_fork)
