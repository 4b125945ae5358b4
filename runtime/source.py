"""Where a version of a model comes from, as a user names it, and how it becomes a blueprint."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from isopod.ipc.errors import EnvironmentBuildError, SpecError
from isopod.runtime.blueprint import Blueprint
from isopod.runtime.environment import BuildEvent, Env, has_script_block, prepare
from isopod.runtime.problems.contract import Contract
from isopod.runtime.resources import Threads
from isopod.runtime.target import Target


@dataclass(frozen=True)
class Source:
    """What ``load`` was given. ``name`` is the model's in messages; times in seconds, ``memory_limit`` in bytes.

    ``env`` is None where none was named: then the target says it, each time that it is loaded.
    """

    name: str
    target: Target
    env: Env | None
    args: Mapping[str, Any]
    memory_limit: int
    load_timeout: float
    threads: Threads | None = None
    contract: Contract = field(default_factory=Contract)
    on_event: Callable[[BuildEvent], None] | None = None

    def changed(
        self,
        *,
        target: str | os.PathLike[str] | None = None,
        env: Env | str | os.PathLike[str] | None = None,
        args: Mapping[str, Any] | None = None,
    ) -> Source:
        """Another version: what is not given stays. Raises ``SpecError``."""
        return replace(
            self,
            target=self.target if target is None else Target.parse(target),
            env=self.env if env is None else environment(env),
            args=self.args if args is None else dict(args),
        )

    def blueprint(self) -> Blueprint:
        """Build the environment, where it is not there. Raises ``SpecError``, ``EnvironmentBuildError``."""
        try:
            env = own_environment(self.target) if self.env is None else self.env
            prepared = prepare(env, on_event=self.on_event)
        except (SpecError, EnvironmentBuildError) as error:
            raise type(error)(f"model {self.name!r}: {error}") from error
        return Blueprint.draw(
            self.name,
            self.target,
            dict(self.args),
            prepared,
            memory_limit=self.memory_limit,
            load_timeout=self.load_timeout,
            threads=self.threads,
            contract=self.contract,
        )


def environment(given: Env | str | os.PathLike[str]) -> Env:
    """An environment, or the path of one that exists."""
    return given if isinstance(given, Env) else Env.existing(given)


def own_environment(target: Target) -> Env:
    """What the target's file says of itself (PEP 723), or else a copy of this application's. Raises ``SpecError``."""
    if target.file is None or not has_script_block(target.file):
        return Env.current()
    return Env.script(target.file)
