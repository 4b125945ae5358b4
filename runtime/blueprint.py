"""One version of a model, ready to be started any number of times: what to load, in which environment, and how.

Frozen: replacing a model by a new version is another blueprint.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isopod.ipc import plain
from isopod.ipc.errors import SpecError
from isopod.runtime.control import LoadOrder
from isopod.runtime.environment import Hold, Prepared
from isopod.runtime.history import Origin
from isopod.runtime.resources import Threads, with_threads
from isopod.runtime.sandbox import Sandbox
from isopod.runtime.sandbox.machine import with_namespaces
from isopod.runtime.sandbox.variables import worker_variables
from isopod.runtime.target import Target


@dataclass(frozen=True)
class Blueprint:
    """``python`` is the interpreter that is executed, ``order`` what the worker is told then. ``variables`` come on top
    of what it inherits (None is one that it does not).

    ``load_timeout`` in seconds. ``target`` and ``origin`` are for messages and reports. ``hold`` is on the environment,
    for as long as there can be workers.
    """

    target: str
    python: Path
    variables: Mapping[str, str | None]
    order: LoadOrder
    sandbox: Sandbox
    load_timeout: float
    origin: Origin
    hold: Hold | None

    @classmethod
    def draw(
        cls,
        name: str,
        target: Target,
        arguments: dict[str, Any],
        prepared: Prepared,
        *,
        memory_limit: int,
        load_timeout: float,
        sandbox: Sandbox,
        threads: Threads | None = None,
    ) -> Blueprint:
        """Raises ``SpecError`` where the load arguments cannot be sent, or a sandbox cannot be as it was asked for."""
        _check_sandbox(name, sandbox, target, prepared)
        _check_arguments(name, arguments)
        activation: dict[str, Any] = {
            "sites": [str(path) for path in prepared.site_dirs],
            "prefix": str(prepared.prefix),
            "executable": str(prepared.executable),
            "threads": [threads.within, threads.between] if threads else [],
        }
        box = sandbox.order(memory_limit, namespaces=with_namespaces(sandbox))
        order = LoadOrder(name, target.fields(), arguments, activation, memory_limit, box)
        # not inherited: what is set here, for the threads too, is set all the same
        variables = {**dict.fromkeys(prepared.unset), **with_threads(prepared.variables, threads)}
        origin = Origin.of(prepared)
        return cls(str(target), prepared.python, variables, order, sandbox, load_timeout, origin, prepared.hold)

    def environ(self) -> dict[str, str]:
        """The whole environment of a worker that is started now."""
        return worker_variables(os.environ, self.variables, self.sandbox.profile)

    def release(self) -> None:
        """There are no workers any more, and will be none: the environment can be removed."""
        if self.hold is not None:
            self.hold.release()


def _check_sandbox(name: str, sandbox: Sandbox, target: Target, prepared: Prepared) -> None:
    folder = target.file.parent if target.file else None
    try:
        sandbox.check_folders(file=folder, environment=prepared.prefix, interpreter=prepared.python.parent.parent)
    except SpecError as error:
        raise SpecError(f"model {name!r}: {error}") from None


def _check_arguments(name: str, arguments: dict[str, Any]) -> None:
    try:
        size = len(plain.pack(arguments))
    except SpecError as error:
        raise SpecError(f"model {name!r}: its load arguments must be plain values: {error}") from None
    if size > 48 * 1024:
        raise SpecError(f"model {name!r}: its load arguments take {size} bytes; pass a path to large data")
