"""One version of a model, ready to be started any number of times: what to load, in which environment, and how.

Frozen: replacing a model by a new version is another blueprint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isopod.ipc import plain
from isopod.ipc.errors import SpecError
from isopod.runtime.control import LoadOrder
from isopod.runtime.environment import Hold, Prepared
from isopod.runtime.history import Origin
from isopod.runtime.problems.contract import Contract
from isopod.runtime.resources import Threads, with_threads
from isopod.runtime.target import Target


@dataclass(frozen=True)
class Blueprint:
    """``python`` is the interpreter that is executed with ``variables`` (None is one that it does not inherit);
    ``order`` is what the worker is told then.

    ``load_timeout`` in seconds. ``target`` and ``origin`` are for messages and reports. ``hold`` is on the environment,
    for as long as there can be workers. ``contract`` is what each call is checked against.
    """

    target: str
    python: Path
    variables: Mapping[str, str | None]
    order: LoadOrder
    load_timeout: float
    origin: Origin
    hold: Hold | None
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
        threads: Threads | None = None,
        contract: Contract | None = None,
    ) -> Blueprint:
        """Raises ``SpecError`` where the load arguments cannot be sent."""
        _check_arguments(name, arguments)
        activation: dict[str, Any] = {
            "sites": [str(path) for path in prepared.site_dirs],
            "prefix": str(prepared.prefix),
            "executable": str(prepared.executable),
            "threads": [threads.within, threads.between] if threads else [],
        }
        order = LoadOrder(name, target.fields(), arguments, activation, memory_limit)
        # not inherited: what is set here, for the threads too, is set all the same
        variables = {**dict.fromkeys(prepared.unset), **with_threads(prepared.variables, threads)}
        origin, agreed = Origin.of(prepared), contract or Contract()
        return cls(str(target), prepared.python, variables, order, load_timeout, origin, prepared.hold, agreed)

    def release(self) -> None:
        """There are no workers any more, and will be none: the environment can be removed."""
        if self.hold is not None:
            self.hold.release()


def _check_arguments(name: str, arguments: dict[str, Any]) -> None:
    try:
        size = len(plain.pack(arguments))
    except SpecError as error:
        raise SpecError(f"model {name!r}: its load arguments must be plain values: {error}") from None
    if size > 48 * 1024:
        raise SpecError(f"model {name!r}: its load arguments take {size} bytes; pass a path to large data")
