"""Doorbells: two ends of one semaphore in one process, across a fork, and across an exec."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from isopod.ipc import doorbell
from isopod.ipc.doorbell import ChildDoorbell, GuardedDoorbell, ParentDoorbell
from isopod.ipc.errors import SandboxUnavailable

LONG_NS = 60 * 10**9  # a hang guard: the bell rings long before

Kind = type[ParentDoorbell] | type[GuardedDoorbell]
KINDS = [ParentDoorbell, GuardedDoorbell]


class Bells:
    """Both ends of one semaphore."""

    def __init__(self, kind: Kind) -> None:
        self.parent = kind()
        self.child = ChildDoorbell(os.dup(self.parent.fd))


@pytest.fixture(params=KINDS)
def bells(request: pytest.FixtureRequest) -> Iterator[Bells]:
    made = Bells(request.param)
    yield made
    made.parent.close()
    made.__dict__.clear()  # pytest keeps fixtures alive beyond the census, and each mapping has a descriptor


ENDS = [("parent", "child"), ("child", "parent"), ("parent", "parent"), ("child", "child")]


@pytest.mark.parametrize(("ringer", "listener"), ENDS)
def test_each_ring_is_heard_once(bells: Bells, ringer: str, listener: str) -> None:
    rings, hears = getattr(bells, ringer), getattr(bells, listener)
    assert not hears.try_wait()
    for _ in range(3):
        rings.ring()
    assert [hears.try_wait() for _ in range(4)] == [True, True, True, False]
    rings.ring()
    assert hears.wait()
    assert not hears.try_wait()


@pytest.mark.parametrize(("ringer", "listener"), ENDS)
def test_a_parked_listener_wakes(bells: Bells, ringer: str, listener: str) -> None:
    heard: list[bool] = []
    hears = getattr(bells, listener)
    thread = threading.Thread(target=lambda: heard.append(hears.wait(time.monotonic_ns() + LONG_NS)))
    thread.start()
    getattr(bells, ringer).ring()
    thread.join()
    assert heard == [True]


@pytest.mark.parametrize("end", ["parent", "child"])
def test_a_deadline_passes(bells: Bells, end: str) -> None:
    deadline = time.monotonic_ns() + 20_000_000
    assert not getattr(bells, end).wait(deadline)
    assert time.monotonic_ns() >= deadline
    assert not getattr(bells, end).wait(1)  # long gone
    bells.parent.ring()
    assert getattr(bells, end).wait(1)  # a ring that is there counts, however late


@pytest.mark.parametrize("end", ["parent", "child"])
def test_parking_goes_on_past_its_longest_time(bells: Bells, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorbell, "_MAX_PARK", 0.005)
    assert not getattr(bells, end).wait(time.monotonic_ns() + 40_000_000)


@pytest.mark.parametrize("end", ["parent", "child"])
def test_a_signal_interrupts_and_its_handler_runs(bells: Bells, end: str) -> None:
    seen = threading.Event()

    def handler(*_: Any) -> None:
        seen.set()

    main = threading.get_ident()
    before = signal.signal(signal.SIGUSR1, handler)
    try:

        def interrupt() -> None:
            signal.pthread_kill(main, signal.SIGUSR1)
            seen.wait()
            bells.parent.ring()

        knock = threading.Thread(target=interrupt)
        knock.start()
        assert getattr(bells, end).wait(time.monotonic_ns() + LONG_NS)
        assert seen.is_set()
        knock.join()
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("end", ["parent", "child"])
def test_what_a_handler_raises_ends_the_wait(bells: Bells, end: str) -> None:
    def handler(*_: Any) -> None:
        raise KeyboardInterrupt

    main = threading.get_ident()
    before = signal.signal(signal.SIGUSR1, handler)
    knock = threading.Thread(target=lambda: signal.pthread_kill(main, signal.SIGUSR1))
    try:
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012  (it may come as soon as the thread runs)
            knock.start()
            getattr(bells, end).wait(time.monotonic_ns() + LONG_NS)
    finally:
        knock.join()
        signal.signal(signal.SIGUSR1, before)
    bells.parent.ring()
    assert getattr(bells, end).wait()


def test_no_name_is_left(bells: Bells) -> None:
    assert not [name for name in os.listdir("/dev/shm") if "isopod" in name]
    assert not os.get_inheritable(bells.parent.fd)


@pytest.mark.parametrize("kind", KINDS)
def test_closing_twice_is_once(kind: Kind) -> None:
    """The second one must not close what has the same number by then."""
    bell = kind()
    number = bell.fd
    bell.close()
    other = os.dup2(0, number)
    try:
        bell.close()
        assert os.fstat(other).st_mode == os.fstat(0).st_mode
    finally:
        os.close(other)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fork_hears_and_rings(kind: Kind) -> None:
    there, back = kind(), kind()
    pid = os.fork()
    if pid == 0:
        there.wait(time.monotonic_ns() + LONG_NS)
        back.ring()
        os._exit(0)
    there.ring()
    assert back.wait(time.monotonic_ns() + LONG_NS)
    assert os.waitpid(pid, 0)[1] == 0
    there.close()
    back.close()


_ECHO = """
import sys, types, os
package = types.ModuleType("isopod"); package.__path__ = []
ipc = types.ModuleType("isopod.ipc"); ipc.__path__ = [sys.argv[3]]
sys.modules["isopod"], sys.modules["isopod.ipc"] = package, ipc
from isopod.ipc.doorbell import ChildDoorbell
assert "posix_ipc" not in sys.modules
there, back = ChildDoorbell(int(sys.argv[1])), ChildDoorbell(int(sys.argv[2]))
for _ in range(100):
    there.wait()
    back.ring()
"""


@pytest.mark.parametrize("kind", KINDS)
def test_another_program_with_nothing_but_its_standard_library_hears_and_rings(kind: Kind) -> None:
    there, back = kind(), kind()
    folder = os.path.dirname(os.path.abspath(doorbell.__file__))
    command = [sys.executable, "-I", "-S", "-c", _ECHO, str(there.fd), str(back.fd), folder]
    with subprocess.Popen(command, pass_fds=(there.fd, back.fd)) as echo:
        for _ in range(100):
            there.ring()
            assert back.wait(time.monotonic_ns() + LONG_NS)
    assert echo.returncode == 0
    there.close()
    back.close()


_HOSTILE = """
import ctypes, mmap, os, sys, time
from isopod.ipc.doorbell import ChildDoorbell, GuardedDoorbell
def passes(bell):
    bell.ring()
    bell.try_wait()
    bell.wait(time.monotonic_ns() + 10**7)
bell = GuardedDoorbell()
child = ChildDoorbell(os.dup(bell.fd))
for byte in (0xFF, 0x7F, 0x80, 0x01):
    whole = mmap.mmap(bell.fd, 2 * mmap.PAGESIZE)
    whole[:] = bytes([byte]) * len(whole)
    passes(bell)
whole[:] = bytes(len(whole))
child.ring()
assert [bell.try_wait(), bell.try_wait()] == [True, False], "and it is as good as new"
print("alive")
"""


def test_whatever_a_child_writes_into_a_semaphore_its_parent_lives() -> None:
    """Of an unguarded one, glibc ends the process: "The futex facility returned an unexpected error code"."""
    done = subprocess.run([sys.executable, "-c", _HOSTILE], capture_output=True, text=True, check=False)
    assert done.stdout == "alive\n", done.stderr


def test_semaphores_of_an_old_c_library_cannot_be_guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "confstr", lambda _: "glibc 2.17")
    with pytest.raises(SandboxUnavailable, match=r"glibc 2\.17 cannot be guarded from a model; it needs glibc 2\.21"):
        GuardedDoorbell()


def test_many_ringers_lose_nothing(bells: Bells) -> None:
    def ring() -> None:
        for _ in range(500):
            bells.child.ring()

    ringers = [threading.Thread(target=ring) for _ in range(4)]
    for ringer in ringers:
        ringer.start()
    for _ in range(2000):
        assert bells.parent.wait(time.monotonic_ns() + LONG_NS)
    for ringer in ringers:
        ringer.join()
    assert not bells.parent.try_wait()


def test_a_wall_clock_that_jumps_ahead_does_not_keep_a_waiter_awake() -> None:
    """Where it waits for a moment that was worked out before, and is in the past now."""
    bell = GuardedDoorbell()
    try:
        deadline = time.monotonic_ns() + 50_000_000
        bell._set_until(time.monotonic_ns(), deadline)
        bell._until.seconds = 1
        assert not bell.wait(deadline)
        assert bell._until.seconds > 1
    finally:
        bell.close()
