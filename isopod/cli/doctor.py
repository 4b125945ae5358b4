"""``isopod doctor``: what isopod needs of a machine, and what this one has. It changes nothing and starts no worker."""

from __future__ import annotations

import dataclasses
import fcntl
import importlib.metadata
import json
import mmap
import os
import platform
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from isopod.cli.screen import Screen, amount, version
from isopod.runtime.environment import interpreters
from isopod.runtime.environment.store import Store
from isopod.runtime.environment.upkeep import disk_usage
from isopod.runtime.sandbox import Sandbox
from isopod.runtime.sandbox.machine import trial

_F_SEAL_SHRINK, _F_SEAL_GROW, _F_ADD_SEALS = 0x2, 0x4, 1033  # linux/fcntl.h; named in Python's fcntl only since 3.8


@dataclasses.dataclass(frozen=True)
class Check:
    """One fact. ``good``: True where it suffices, False where isopod cannot work so, None where it works but less well.

    ``advice`` says what to do about it, if anything is to be done.
    """

    name: str
    good: bool | None
    value: str
    advice: str = ""


def run(screen: Screen, *, as_json: bool) -> int:
    """Write the report. Returns 1 if something that isopod cannot do without is missing."""
    checks = list(examine())
    pythons = [
        {"version": ".".join(map(str, item.version)), "path": str(item.executable)} for item in interpreters()
    ]  # fmt: skip
    healthy = all(check.good is not False for check in checks)
    if as_json:
        report = {
            "isopod": version(),
            "healthy": healthy,
            "checks": [dataclasses.asdict(check) for check in checks],
            "interpreters": pythons,
            "store": store_facts(),
        }
        screen.line(json.dumps(report, indent=2))
        return 0 if healthy else 1
    screen.heading(f"isopod {version()} on this machine")
    width = max(len(check.name) for check in checks)
    for check in checks:
        screen.line(f"  {screen.mark(check.good)} {check.name:<{width}}   {check.value}")
        if check.advice:
            screen.line(f"    {'':<{width}}   {screen.style(check.advice, 'yellow')}")
    screen.heading("Pythons that a model can run on")
    for python in pythons:
        screen.line(f"    {python['version']:<10} {screen.style(python['path'], 'dim')}")
    screen.heading("The store of environments")
    for name, value in _store_lines():
        screen.line(f"    {name:<10} {value}")
    screen.line()
    return 0 if healthy else 1


def examine() -> Iterator[Check]:
    """Yield the checks, in the order of the report. Each tries the thing itself, not a version number."""
    yield Check("Python", sys.version_info >= (3, 10), f"{platform.python_version()} ({sys.executable})")
    yield Check("kernel", sys.platform == "linux", f"{platform.system()} {platform.release()} {platform.machine()}")
    yield _tried("sealed shared memory", "memfd_create with seals", _try_memfd)
    yield _tried("semaphores", "POSIX semaphores, by posix_ipc", _try_semaphore)
    yield _tried("process descriptors", "pidfd_open", _try_pidfd)
    cores = len(os.sched_getaffinity(0))
    advice = "a call has to wake the other process on the same core, which costs some microseconds" if cores < 2 else ""
    yield Check("cores", True if cores > 1 else None, f"{cores} for this process", advice)
    yield Check("memory", True, f"{amount(_memory())} available")
    yield _sandbox("limits", "models cannot be loaded here but with sandbox='none'")
    yield _sandbox("strict", "models that are not trusted cannot be locked in here")
    good, what = trial(Sandbox("strict", namespaces="required"))
    yield Check("namespaces", good or None, what, "" if good else "strict does without; a scratch folder is less exact")
    good, what = trial(Sandbox("strict", allow_subprocess=True))
    yield Check(
        "processes in 'strict'", good or None, what, "" if good else "strict models cannot start processes here"
    )
    yield _uv()
    yield _extra("rich", "progress bars; pip install 'isopod[cli]'")
    yield _extra("matplotlib", "pictures of comparisons; pip install 'isopod[plot]'")
    yield _extra("ml_dtypes", "bfloat16 and float8 tensors; pip install 'isopod[tensors]'")


def store_facts() -> dict[str, Any]:
    """Return where environments are kept, how many there are, what they take, and what is free."""
    root = Store().root
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    return {
        "path": str(root),
        "environments": len(Store().all()),
        "bytes": disk_usage(root),
        "free_bytes": shutil.disk_usage(there).free,
        "writable": os.access(there, os.W_OK),
    }


def _store_lines() -> Iterator[tuple[str, str]]:
    facts = store_facts()
    yield "path", f"{facts['path']}{'' if facts['writable'] else '  (not writable: set ISOPOD_HOME)'}"
    yield "holds", f"{facts['environments']} environments, {amount(facts['bytes'])}"
    yield "free", f"{amount(facts['free_bytes'])} on its disk"


def _tried(name: str, what: str, attempt: Callable[[], None]) -> Check:
    try:
        attempt()
    except (OSError, AttributeError, ImportError, ValueError) as error:
        return Check(name, False, f"{what}: {error}", "isopod needs this; is it forbidden by the container?")
    return Check(name, True, what)


def _try_memfd() -> None:
    descriptor = os.memfd_create("isopod-doctor", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, mmap.PAGESIZE)
        fcntl.fcntl(descriptor, _F_ADD_SEALS, _F_SEAL_SHRINK | _F_SEAL_GROW)
        mmap.mmap(descriptor, mmap.PAGESIZE).close()
    finally:
        os.close(descriptor)


def _try_semaphore() -> None:
    import posix_ipc

    name = f"/isopod-doctor-{uuid.uuid4().hex[:12]}"
    semaphore = posix_ipc.Semaphore(name, posix_ipc.O_CREX, mode=0o600, initial_value=1)
    try:
        posix_ipc.unlink_semaphore(name)
        semaphore.acquire(0)
    finally:
        semaphore.close()


def _try_pidfd() -> None:
    os.close(os.pidfd_open(os.getpid()))


def _sandbox(profile: str, without: str) -> Check:
    """Lock a process of its own as a worker would be, as this user, in this container."""
    good, what = trial(Sandbox(profile))
    return Check(f"sandbox {profile!r}", good or None, what, "" if good else without)


def _uv() -> Check:
    try:
        import uv

        path = os.fspath(uv.find_uv_bin())
    except (ImportError, FileNotFoundError) as error:
        return Check("uv", False, f"not found: {error}", "it builds the environments: pip install uv")
    return Check("uv", True, f"{importlib.metadata.version('uv')} ({path})")


def _extra(name: str, gives: str) -> Check:
    try:
        return Check(name, True, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Check(name, None, "not installed", gives)


def _memory() -> int:
    with open("/proc/meminfo", encoding="ascii") as file:
        facts = dict(line.split(":", 1) for line in file)
    return int(facts["MemAvailable"].split()[0]) * 1024
