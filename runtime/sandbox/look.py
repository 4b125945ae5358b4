"""Whether a worker's lock holds, as far as its process shows it to anybody: ``/proc/PID``.

The worker tells what it has done before any code of its model runs, and waits; what the kernel says of it is believed
instead, wherever the kernel says anything. Landlock is not shown: there the worker's self-test must do.
"""

from __future__ import annotations

import os
from collections.abc import Set
from typing import Any

from isopod.ipc.errors import ProtocolError, SandboxUnavailable
from isopod.runtime.resources import Cpus, listed

from .profiles import NONE, Sandbox
from .report import LACKS, Mechanism, SandboxReport

_NAMESPACES = ("user", "net", "ipc", "mnt")
_CAPABILITY_SETS = ("CapEff", "CapPrm", "CapInh", "CapAmb")
# By the names of an order: how /proc/PID/limits calls them, and how a report does.
_LIMITS = {
    "files": ("Max open files", "descriptors"),
    "file_size": ("Max file size", "bytes a file"),
    "locked": ("Max locked memory", "bytes of locked memory"),
    "address_space": ("Max address space", "bytes of address space"),
}


def examine(
    model: str,
    pid: int,
    asked: Sandbox,
    memory_limit: int,
    done: dict[str, Any],
    order: dict[str, Any] | None = None,
    cpus: Cpus | None = None,
) -> SandboxReport:
    """What holds for a worker that has said that it is locked, by ``done``; ``order`` is what it was told, and ``cpus``
    the processors that it was given, None for all of ours.

    Raises ``SandboxUnavailable`` where something that was asked for does not hold, ``ProtocolError`` where ``done`` is
    malformed.
    """
    if asked.profile == NONE:
        return SandboxReport(model, NONE, (), (pid,), LACKS[NONE])
    try:
        status, limits = _status(pid), _limits(pid)
        own = _status("self")
        nice = os.getpriority(os.PRIO_PROCESS, pid)
        ours, its = os.sched_getaffinity(0), os.sched_getaffinity(pid)
    except (OSError, ValueError) as error:
        raise SandboxUnavailable(
            f"model {model!r}: whether its sandbox holds cannot be seen: /proc/{pid} cannot be read ({error}); is "
            "/proc mounted? sandbox='none' does not need it"
        ) from None
    found = [_no_new_privileges(model, status), _capabilities(model, status, asked)]
    found.append(_limited(model, limits, asked.limits(memory_limit)))
    if asked.niceness:
        found.append(_lowered(model, nice, limits, asked.niceness))
    if asked.strict:
        found.append(_placed(model, ours, its, its if cpus is None else cpus))
        found += _confined(model, status, own, done)
        found += _apart(model, pid, done, asked) if order is not None and order["namespaces"] else []
    lacks = LACKS[asked.profile]
    if asked.allow_subprocess:
        found.append(_among_themselves(model, status, own, done))
        lacks += LACKS["processes"]
    return SandboxReport(model, asked.profile, tuple(found), (pid,), lacks)


def moved_to(done: dict[str, Any]) -> tuple[int, int]:
    """(the first process, the worker), as a worker says that may start more. Raises ``ProtocolError``."""
    told = done.get("processes")
    if type(told) is not list or len(told) != 2 or not all(type(number) is int and number > 0 for number in told):
        raise ProtocolError("its report of its processes has the wrong form")
    return told[0], told[1]


def _no_new_privileges(model: str, status: dict[str, str]) -> Mechanism:
    if status.get("NoNewPrivs") != "1":
        raise _broken(model, "no_new_privs is not set")
    return Mechanism("no new privileges", "executing a program never gains any", "application")


def _capabilities(model: str, status: dict[str, str], asked: Sandbox) -> Mechanism:
    kept = sum(1 << number for number in asked.kept_capabilities)
    held = 0
    for name in _CAPABILITY_SETS:
        held |= int(status.get(name, "0"), 16)
    if held & ~kept:
        raise _broken(model, f"it still has the capabilities {held & ~kept:#x}")
    detail = f"only those for files of other owners ({held:#x})" if held else "none"
    return Mechanism("capabilities", detail, "application")


def _limited(model: str, limits: dict[str, float], wanted: dict[str, int]) -> Mechanism:
    parts = []
    for name, value in {**wanted, "core": 0}.items():
        title, label = _LIMITS.get(name, ("Max core file size", "bytes of core"))
        have = limits.get(title, float("inf"))
        if have > value:
            raise _broken(model, f"its limit {title!r} is {have}, not {value}")
        parts.append(f"{have:.0f} {label}")
    return Mechanism("limits", ", ".join(parts), "application")


def _lowered(model: str, nice: int, limits: dict[str, float], wanted: int) -> Mechanism:
    if nice < wanted:
        raise _broken(model, f"its priority is nice {nice}, not {wanted}")
    if any(limits.get(title, 1) for title in ("Max nice priority", "Max realtime priority")):
        raise _broken(model, "it may raise its priority again")
    return Mechanism("priority", f"nice {nice}, and never less again", "application")


def _placed(model: str, ours: Set[int], its: Set[int], given: Set[int]) -> Mechanism:
    """Fewer than it was given are no fault: the machine may have taken some away since."""
    if not its <= given:
        raise _broken(model, f"it runs on the processors {listed(its)}, not on {listed(given)}")
    left = f"{len(ours - its) or 'none'} left to others"
    detail = f"{len(its)} of {len(ours | its)} processors (cpu {listed(its)}), {left}; it cannot change that"
    return Mechanism("processors", detail, "application")


def _confined(model: str, status: dict[str, str], own: dict[str, str], done: dict[str, Any]) -> list[Mechanism]:
    """What only ``strict`` has."""
    # In a container this process is filtered, too: the worker must have one filter more.
    filters = int(status.get("Seccomp_filters", "0")) - int(own.get("Seccomp_filters", "0"))
    if status.get("Seccomp") != "2" or filters < 1:
        raise _broken(model, "it has no filter of system calls of its own")
    if status.get("Threads") != "1":
        raise _broken(model, f"it has {status.get('Threads')} threads, of which only one is locked")
    texts = [done.get(name) for name in ("landlock", "seccomp")]
    refused, readable, programs = done.get("refused"), done.get("readable"), done.get("programs", [])
    if not all(type(text) is str for text in texts) or not all(map(_are_texts, (refused, readable, programs))):
        raise ProtocolError("its report of its sandbox has the wrong form")
    assert refused is not None
    assert readable is not None
    if not refused:
        raise _broken(model, "it has not tested itself")
    executable = f"; executable: {', '.join(programs)}" if programs else ""
    return [
        Mechanism("system calls", str(texts[1]), "application"),
        Mechanism("one thread at the lock", "no thread escaped it", "application"),
        Mechanism("files", f"Landlock {texts[0]}; readable: {', '.join(readable)}{executable}", "worker"),
        Mechanism("self-test", f"refused: {', '.join(refused)}", "worker"),
        Mechanism("inputs", "shared memory that it reads is sealed against writing", "application"),
        Mechanism("outputs", "copied out of shared memory before anyone looks at them", "application"),
    ]


def _among_themselves(model: str, status: dict[str, str], own: dict[str, str], done: dict[str, Any]) -> Mechanism:
    """That what it starts is in a namespace of processes: it has a number there, beside those that it has here."""
    if type(done.get("bound")) is not str:
        raise ProtocolError("its report of its processes has the wrong form")
    if len(status.get("NSpid", "").split()) != len(own.get("NSpid", "").split()) + 1:
        raise _broken(model, "it has no namespace of processes of its own")
    detail = f"they see and signal no others, end with the worker, and are {done['bound']}"
    return Mechanism("processes", detail, "application")


def _apart(model: str, pid: int, done: dict[str, Any], asked: Sandbox) -> list[Mechanism]:
    """Its namespaces, where they are to be."""
    told = done.get("namespaces")
    if type(told) is not str:
        raise ProtocolError("its report of its namespaces has the wrong form")
    try:
        names = (*_NAMESPACES, "pid") if asked.allow_subprocess else _NAMESPACES
        shared = [name for name in names if _namespace(pid, name) == _namespace("self", name)]
    except OSError:  # the kernel shows a process in another user namespace to some, and not to others
        return [Mechanism("namespaces", told, "worker")]
    if shared:
        raise _broken(model, f"it shares our namespaces: {', '.join(shared)}")
    return [Mechanism("namespaces", told, "application")]


def _namespace(pid: int | str, name: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{name}")


def _are_texts(value: Any) -> bool:
    return type(value) is list and all(type(item) is str for item in value)


def _broken(model: str, what: str) -> SandboxUnavailable:
    return SandboxUnavailable(f"model {model!r}: its sandbox does not hold: {what}; its worker was ended")


def _status(pid: int | str) -> dict[str, str]:
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        return {name: value.strip() for name, _, value in (line.partition(":") for line in file)}


def _limits(pid: int) -> dict[str, float]:
    """Hard limits: the soft ones are for the process itself to raise."""
    found = {}
    with open(f"/proc/{pid}/limits", encoding="ascii") as file:
        next(file)
        for line in file:
            hard = line[26:].split()[1]
            found[line[:26].strip()] = float("inf") if hard == "unlimited" else float(hard)
    return found
