"""``Sandbox``: what is asked for. ``docs/sandbox.md`` says in plain words what each profile promises, and what not."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isopod.ipc.errors import SpecError

NONE, LIMITS, STRICT = PROFILES = ("none", "limits", "strict")
_MIB = 1 << 20
# Numbers from <linux/capability.h>: DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER. Under ``limits`` root goes on to read and
# write the files of other owners, as a container's mounted volumes often are: it protects from accidents, and without
# these a model that loads in the application would not load in its worker.
_FILE_CAPABILITIES = (1, 2, 3)
_SYSTEM_PREFIXES = ("/", "/usr", "/usr/local")  # as in the worker's guard
_SHARED_MEMORY = _MIB  # of a model that may start processes, at least: their semaphores lie in it
# A weight of 110 to the kernel, where an ordinary thread has 1024. With 5 (335) a model that burned with 32 threads
# still doubled its neighbour's calls; with 19 (15), or SCHED_IDLE (3), an honest one would hardly run beside others.
_STRICT_NICE, _MOST_NICE = 10, 19
_MEMORY_OF_ITS_OWN = 8 << 30  # bytes of address space beside the shared memory: TensorFlow reserves that much


@dataclass(frozen=True)
class Sandbox:
    """A profile, and its options. ``isopod.load(..., sandbox="strict")`` is short for ``Sandbox("strict")``.

    ``"none"`` is a process of its own. ``"limits"`` (the default) keeps accidents in: environment variables by an
    allow-list, no descriptors but ours, limits, no new privileges; it is no security boundary. ``"strict"`` is for
    models that are not trusted: they read their environment, their folder and ``readable`` paths, write nothing, have
    no network, and start no processes.

    ``namespaces`` adds a second wall to ``strict``, and makes ``scratch`` exact: ``"auto"`` where this machine lets a
    process have them, which is tried once, ``"required"``, or ``"off"``.

    ``scratch`` is the size in bytes of a folder that a strict model may write to, 0 for none; it is ``TMPDIR`` and
    ``HOME`` there, and holds 10,000 files at most. ``max_files`` bounds its descriptors, ``max_file_size`` (bytes) each
    file that it writes, ``address_space`` (bytes) its memory with all mappings, those of shared memory among them. None
    is no limit for ``limits``, and for ``strict`` 8 GiB and twice the ``memory_limit`` of ``load``.

    ``nice`` is the priority of a worker and of all that it starts, as in ``nice(1)``: from 0, as your application has
    it, to 19, which gives way to everybody. It cannot raise it again. None is 10 for ``strict``, and 0 for ``limits``.

    ``allow_subprocess`` lets a strict model start processes, which are as confined as it is, see no others, and end
    with its worker; ``max_processes`` bounds them and all of their threads. It needs namespaces, and makes them
    ``"required"``. Limits but that one are each process's own. ::

        isopod.load("theirs.py:Model", sandbox=isopod.Sandbox("strict", scratch=64 << 20, readable=["/data/weights"]))

    Raises ``SpecError`` for what does not go together.
    """

    profile: str = LIMITS
    namespaces: str = "auto"
    scratch: int = 0
    readable: Sequence[str | os.PathLike[str]] = ()
    max_files: int = 4096
    max_file_size: int = 16 << 30
    address_space: int | None = None
    allow_subprocess: bool = False
    max_processes: int = 256
    nice: int | None = None

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise SpecError(f"there is no sandbox {self.profile!r}; there are {', '.join(map(repr, PROFILES))}")
        if isinstance(self.readable, str | bytes) or not isinstance(self.readable, Sequence):
            raise SpecError(f"readable is a list of paths, not {self.readable!r}")
        object.__setattr__(self, "readable", tuple(os.path.abspath(os.fspath(path)) for path in self.readable))
        self._check_numbers()
        if self.nice is not None and (type(self.nice) is not int or not 0 <= self.nice <= _MOST_NICE):
            raise SpecError(f"nice is a number from 0 to {_MOST_NICE}, not {self.nice!r}")
        if self.profile == NONE and self.nice:
            raise SpecError("nice is for 'limits' and 'strict'; 'none' leaves its worker as your application is")
        if self.namespaces not in ("auto", "required", "off"):
            raise SpecError(f"namespaces is 'auto', 'required' or 'off', not {self.namespaces!r}")
        if self.profile != STRICT and self.namespaces == "required":
            raise SpecError(f"namespaces are for 'strict'; {self.profile!r} has none")
        if self.profile != STRICT and (self.scratch or self.readable):
            raise SpecError(
                f"scratch and readable are for 'strict'; under {self.profile!r} a model writes where it may"
            )
        if self.allow_subprocess and (self.profile != STRICT or self.namespaces == "off"):
            raise SpecError("allow_subprocess is for 'strict', and needs namespaces; others may start processes anyway")
        if self.allow_subprocess:
            object.__setattr__(self, "namespaces", "required")
        if "/" in self.readable:
            raise SpecError("readable=['/'] is everything; name the folders that the model needs")
        missing = [path for path in self.readable if not os.path.exists(path)]
        if missing:
            raise SpecError(f"readable names {os.fspath(missing[0])}, which does not exist")

    def _check_numbers(self) -> None:
        least = {"scratch": 0, "max_files": 64, "max_file_size": 0, "address_space": 256 * _MIB, "max_processes": 8}
        for name, lowest in least.items():
            value = getattr(self, name)
            if name == "address_space" and value is None:
                continue
            if type(value) is not int or value < lowest:
                raise SpecError(f"{name} is a number of at least {lowest}, not {value!r}")

    @property
    def strict(self) -> bool:
        return self.profile == STRICT

    @property
    def niceness(self) -> int:
        """What ``nice`` is where nothing was said, too."""
        if self.nice is None:
            return _STRICT_NICE if self.strict else 0
        return self.nice

    @property
    def shared_memory(self) -> int:
        """Bytes that a strict model may have in a ``/dev/shm`` of its own."""
        return max(self.scratch, _SHARED_MEMORY) if self.allow_subprocess else 0

    @property
    def kept_capabilities(self) -> tuple[int, ...]:
        return _FILE_CAPABILITIES if self.profile == LIMITS else ()

    def limits(self, memory_limit: int) -> dict[str, int]:
        """What the kernel is asked to limit, by the names of the order. ``memory_limit`` is that of each direction."""
        if self.profile == NONE:
            return {}
        wanted = {"files": self.max_files, "file_size": self.max_file_size, "locked": 8 * _MIB}
        if self.strict:
            wanted.update(file_size=min(max(self.scratch, self.shared_memory), self.max_file_size), locked=0)
        space = self.address_space
        if space is None and self.strict:
            space = _MEMORY_OF_ITS_OWN + 2 * memory_limit
        return wanted if space is None else {**wanted, "address_space": space}

    def order(self, memory_limit: int, *, namespaces: bool = False) -> dict[str, Any]:
        """As it stands in a ``load`` message; the scratch folder is each worker's own."""
        return {
            "profile": self.profile,
            "limits": self.limits(memory_limit),
            "capabilities": list(self.kept_capabilities),
            "readable": [os.fspath(path) for path in self.readable],
            "scratch": "",
            "scratch_size": self.scratch,
            "namespaces": namespaces,
            "processes": self.max_processes if self.allow_subprocess else 0,
            "shared_memory": self.shared_memory,
            "nice": self.niceness,
        }

    def check_device(self, device: str | None) -> None:
        """Raises ``SpecError`` for a GPU in ``strict``: its driver is reached by device files, which stay closed."""
        if self.strict and device not in (None, "cpu"):
            raise SpecError(
                f"a strict model has no GPU, so device={device!r} cannot be: a driver in the kernel is too large a "
                "door for a model that is not trusted; load it with device='cpu', or trust it with sandbox='limits'"
            )

    def check_folders(self, **folders: Path | None) -> None:
        """A strict worker reads all of these folders, given by what they are. Raises ``SpecError`` where one of them is
        this user's home, holds it, or is where temporary files lie.
        """
        home = Path(os.path.expanduser("~")).resolve()
        for what, given in folders.items() if self.strict else ():
            folder = None if given is None else given.resolve()
            if folder is None or str(folder) in _SYSTEM_PREFIXES:
                continue  # of the system's own prefixes, it reads libraries alone
            if folder == home or folder in home.parents or folder == Path(tempfile.gettempdir()).resolve():
                raise SpecError(
                    f"a strict model may read all of the folder of its {what}, and that would be {folder}; "
                    "move it into a folder of its own"
                )


def sandbox(given: str | Sandbox) -> Sandbox:
    """What ``load`` was given. Raises ``SpecError``."""
    if isinstance(given, Sandbox):
        return given
    if not isinstance(given, str):
        raise SpecError(f"sandbox is a profile's name or an isopod.Sandbox, not {given!r}")
    return Sandbox(given)
