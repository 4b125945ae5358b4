"""The census: what a process holds, counted before and after a test, so that nothing is left behind unseen.

Counted are children (and theirs), open file descriptors, threads, names in /dev/shm and temporary files. ``left_over``
waits a moment for what is just going away, then lists what is still there; the fixture in conftest.py fails the test
with that list. What the process had before is never held against it: only what is new counts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

# Their own pools of native threads live as long as the process, from the first call on. Python threads count always.
WITH_NATIVE_POOLS = ("grpc", "onnxruntime", "ray", "scipy", "sklearn", "tensorflow", "torch")
SHARED_MEMORY = Path("/dev/shm")
OWN_PREFIXES = ("isopod", "sem.isopod")
# A thread that ends is still a task for a moment, a child that was killed still a process: all go within this.
GRACE_S = 2.0


@dataclasses.dataclass(frozen=True)
class Census:
    """What the process held at one moment, by kind: an identity that is not used again → what to call it."""

    children: dict[tuple[int, float], str]
    fds: dict[object, str]
    threads: dict[object, str]
    tasks: dict[object, str]
    shared_memory: dict[object, str]
    temporary: dict[object, str]


def take() -> Census:
    python_threads = {thread.native_id for thread in threading.enumerate()}
    return Census(
        children=_children(),
        fds=_fds(),
        threads={thread: f"{thread.name!r} (daemon={thread.daemon})" for thread in threading.enumerate()},
        tasks={tid: name for tid, name in _tasks().items() if tid not in python_threads},
        shared_memory=_names(SHARED_MEMORY),
        temporary=_names(Path(tempfile.gettempdir())),
    )


def left_over(before: Census, grace_s: float = GRACE_S, *, collect: bool = True) -> list[str]:
    """One line for each thing that is here now and was not before, once ``grace_s`` has passed.

    ``collect``: whether cycles may be to blame, as tests make them themselves (an exception and the frame that holds
    it). Without it, what waits for the garbage collector is left over.
    """
    deadline = time.monotonic() + grace_s
    while lines := _compare(before, take()):
        if time.monotonic() > deadline:
            return lines
        if collect:
            gc.collect()  # each time: a thread that is about to end may still have held what it finds the next time
        time.sleep(0.01)  # polls a condition that has no event: the kernel is taking things down
    return []


def end_children(before: Census) -> None:
    """End those that were left behind, so that the test that left them is the only one to fail."""
    new = [key for key in _children() if key not in before.children]
    for pid, started in new:
        with contextlib.suppress(psutil.NoSuchProcess):
            child = psutil.Process(pid)
            if child.create_time() == started:
                child.kill()


@contextlib.contextmanager
def supervisor_at_rest() -> Iterator[None]:
    """Ends the library's long-lived threads on the way out, unless they were running on the way in.

    They serve the whole process, so a test that loads a model leaves them behind by design. Those that a module's or
    the session's fixture started are its own to end: they stay, and are in the census before.
    """
    was_running = _supervisor_runs()
    yield
    supervisor = sys.modules.get("isopod.runtime.supervisor")
    if supervisor is not None and not was_running:
        supervisor.shutdown()


def _supervisor_runs() -> bool:
    return any(thread.name in ("isopod-monitor", "isopod-spawner") for thread in threading.enumerate())


def _compare(before: Census, after: Census) -> list[str]:
    lines = []
    for field in dataclasses.fields(Census):
        had, has = getattr(before, field.name), getattr(after, field.name)
        if field.name == "tasks" and any(name in sys.modules for name in WITH_NATIVE_POOLS):
            continue
        lines += [f"{field.name}: {has[key]}" for key in has if key not in had]
    return lines


def _children() -> dict[tuple[int, float], str]:
    found: dict[tuple[int, float], str] = {}
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            facts = child.as_dict(["create_time", "status", "name", "cmdline"])  # a zombie has no command line: None
            command = " ".join(facts["cmdline"] or [facts["name"]])
            found[child.pid, facts["create_time"]] = f"pid {child.pid} ({facts['status']}): {command}"
    return found


def _fds() -> dict[object, str]:
    found: dict[object, str] = {}
    with os.scandir("/proc/self/fd") as entries:  # its own descriptor is among them, and gone when it is read below
        numbers = [int(entry.name) for entry in entries]
    for number in numbers:
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{number}")
            found[number, target] = f"{number} -> {target}"
    return found


def _tasks() -> dict[int, str]:
    found = {}
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found[int(task.name)] = f"native thread {task.name} {(task / 'comm').read_text().strip()!r}"
    return found


def _names(folder: Path) -> dict[object, str]:
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return {}
    return {name: str(folder / name) for name in names if name.startswith(OWN_PREFIXES)}
