"""``SandboxReport``: what was really enforced on a model's workers, and who has seen it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

# What no report of a profile may be read to say. docs/sandbox.md says more.
LACKS = {
    "none": ("nothing is enforced: the worker may do what your application may",),
    "limits": ("this is no security boundary: the worker reads and writes your user's files, and has the network",),
    "strict": (
        "the kernel is shared with your application: its faults are the model's way out",
        "that a file exists, how large it is and whose can be seen; what is in it cannot",
        "what the model answers is data that nobody vouches for, and may carry what it was asked",
    ),
    "processes": ("limits of memory, files and descriptors are each process's own: all of them may take that much",),
}


@dataclasses.dataclass(frozen=True)
class Mechanism:
    """One thing that holds. ``seen_by``: "application", which looked at the process itself, or "worker", whose own code
    tried it before any code of the model ran."""

    name: str
    detail: str
    seen_by: str


@dataclasses.dataclass(frozen=True)
class SandboxReport:
    """What holds for the workers ``pids`` of a model; ``str()`` is for people, ``to_json()`` for programs.

    ``lacks`` says what the profile does not promise. A worker of which this is not so is never given a call.
    """

    model: str
    profile: str
    mechanisms: tuple[Mechanism, ...]
    pids: tuple[int, ...] = ()
    lacks: tuple[str, ...] = ()

    def __str__(self) -> str:
        workers = ", ".join(map(str, self.pids)) or "none"
        lines = [f"model {self.model!r}: sandbox {self.profile!r}; workers: {workers}"]
        width = max((len(one.name) for one in self.mechanisms), default=0)
        lines += [f"  {one.name:<{width}}  {one.detail} (seen by the {one.seen_by})" for one in self.mechanisms]
        lines += [f"  not promised: {what}" for what in self.lacks]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2)

    def holds(self, name: str) -> bool:
        """Whether there is a mechanism of that name."""
        return any(one.name == name for one in self.mechanisms)
