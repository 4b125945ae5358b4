"""One version of a model, ready to be started any number of times: what to load, in which environment, and how.

Frozen: replacing a model by a new version is another blueprint.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isopod.ipc import plain
from isopod.ipc.errors import SpecError
from isopod.runtime.control import LoadOrder
from isopod.runtime.devices import seen_device
from isopod.runtime.environment import Hold, Prepared, Threads, narrowed, with_threads
from isopod.runtime.history import Origin
from isopod.runtime.problems.contract import Contract
from isopod.runtime.sandbox import Sandbox
from isopod.runtime.sandbox.machine import with_namespaces
from isopod.runtime.sandbox.variables import worker_variables
from isopod.runtime.target import Target


@dataclass(frozen=True)
class Blueprint:
    """``python`` is the interpreter that is executed, ``order`` what the worker is told then. ``variables`` come on top
    of what it inherits (None is one that it does not).

    ``load_timeout`` in seconds. ``target`` and ``origin`` are for messages and reports. ``holds`` are on the
    environment and on a pod's files, for as long as there can be workers. ``start`` is how they come to be (see
    ``starter``), ``warm`` what a template of theirs imports, ``contract`` what each call is checked against.
    """

    target: str
    python: Path
    variables: Mapping[str, str | None]
    order: LoadOrder
    sandbox: Sandbox
    load_timeout: float
    origin: Origin
    holds: tuple[Hold, ...]
    start: str = "spawn"
    warm: tuple[str, ...] = ()
    contract: Contract = field(default_factory=Contract)

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
        start: str = "spawn",
        pod: Hold | None = None,
        device: str | None = None,
        contract: Contract | None = None,
    ) -> Blueprint:
        """``threads`` win over the environment's.

        Raises ``SpecError`` where the load arguments or options cannot be sent, the device cannot be seen, or a sandbox
        cannot be as it was asked for.
        """
        _check_sandbox(name, sandbox, target, prepared, start)
        _check_arguments(name, arguments, dict(target.options))
        threads = threads or prepared.threads
        activation: dict[str, Any] = {
            "sites": [str(path) for path in prepared.site_dirs],
            "prefix": str(prepared.prefix),
            "executable": str(prepared.executable),
            "threads": [threads.within, threads.between] if threads else [],
            "device": seen_device(device),
        }
        box = sandbox.order(memory_limit, namespaces=with_namespaces(sandbox))
        order = LoadOrder(name, target.fields(), arguments, activation, memory_limit, box)
        # not inherited: what is set here, for the threads too, is set all the same
        variables = {**dict.fromkeys(prepared.unset), **with_threads(prepared.variables, threads)}
        try:
            variables = {**variables, **narrowed(device, variables, os.environ)}
        except SpecError as error:
            raise SpecError(f"model {name!r}: {error}") from None
        holds = tuple(hold for hold in (prepared.hold, pod) if hold is not None)
        origin = Origin.of(prepared)
        return cls(
            str(target), prepared.python, variables, order, sandbox, load_timeout, origin, holds, start,
            prepared.warm, contract or Contract(),
        )  # fmt: skip

    def environ(self) -> dict[str, str]:
        """The whole environment of a worker that is started now."""
        return worker_variables(os.environ, self.variables, self.sandbox.profile)

    def release(self) -> None:
        """There are no workers any more, and will be none: the environment can be removed."""
        for hold in self.holds:
            hold.release()


def _check_sandbox(name: str, sandbox: Sandbox, target: Target, prepared: Prepared, start: str) -> None:
    if sandbox.strict and start != "spawn":
        raise SpecError(
            f"model {name!r}: start={start!r} is for models that you trust; a strict worker is locked before code of "
            "its environment runs, which a template has run already"
        )
    folder = target.file.parent if target.file else None
    try:
        sandbox.check_folders(file=folder, environment=prepared.prefix, interpreter=prepared.python.parent.parent)
    except SpecError as error:
        raise SpecError(f"model {name!r}: {error}") from None


def _check_arguments(name: str, arguments: dict[str, Any], options: dict[str, Any]) -> None:
    size = 0
    for what, values in (("load arguments", arguments), ("options", options)):
        try:
            size += len(plain.pack(values))
        except SpecError as error:
            raise SpecError(f"model {name!r}: its {what} must be plain values: {error}") from None
    if size > 48 * 1024:
        raise SpecError(f"model {name!r}: its load arguments take {size} bytes; pass a path to large data")
