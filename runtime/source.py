"""Where a version of a model comes from, as a user names it, and how it becomes a blueprint."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from isopod.ipc.errors import EnvironmentBuildError, SpecError
from isopod.runtime import pods
from isopod.runtime.blueprint import Blueprint
from isopod.runtime.environment import BuildEvent, Env, Threads, has_script_block, prepare
from isopod.runtime.problems.contract import Contract, problem_of
from isopod.runtime.sandbox import LIMITS, Sandbox
from isopod.runtime.sandbox import sandbox as sandbox_of
from isopod.runtime.starter import Start
from isopod.runtime.target import NO_OVERRIDES, Overrides, Target


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
    sandbox: Sandbox
    threads: Threads | None = None
    start: Start = "spawn"
    on_event: Callable[[BuildEvent], None] | None = None
    overrides: Overrides = NO_OVERRIDES
    device: str | None = None
    contract: Contract = field(default_factory=Contract)

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
            target=self.target if target is None else designated(target, self.overrides),
            env=self.env if env is None else environment(env),
            args=self.args if args is None else dict(args),
        )

    def blueprint(self) -> Blueprint:
        """Open the pod and build the environment, where they are not there.

        Raises ``SpecError``, ``EnvironmentBuildError``.
        """
        with contextlib.ExitStack() as failed:
            try:
                pod = None if self.target.pod is None else pods.open_pod(self.target.pod)
                if pod is not None:
                    failed.callback(pod.release)
                env = self.env or (own_environment(self.target) if pod is None else pod.env)
                target = self.target if pod is None else replace(pod.target, timed=self.target.timed)
                contract = self.contract if pod is None else self._agreed(pod)
                prepared = prepare(env, on_event=self.on_event)
                if prepared.hold is not None:
                    failed.callback(prepared.hold.release)
                if pod is not None:
                    pod.check_python(prepared)
            except (SpecError, EnvironmentBuildError) as error:
                raise type(error)(f"model {self.name!r}: {error}") from error
            drawn = Blueprint.draw(
                self.name,
                target,
                dict(self.args),
                prepared,
                memory_limit=self.memory_limit,
                load_timeout=self.load_timeout,
                threads=self.threads,
                sandbox=self._readable(pod),
                start=self.start,
                device=self.device,
                pod=None if pod is None else pod.hold,
                contract=contract,
            )
            failed.pop_all()  # from here on the blueprint has it
        return drawn

    def _agreed(self, pod: pods.Pod) -> Contract:
        """The caller's problem, or else the pod's own."""
        path = pod.config.section.problem.get("path")
        if self.contract.problem is not None or path is None:
            return self.contract
        return replace(self.contract, problem=problem_of(pod.folder / path))

    def _readable(self, pod: pods.Pod | None) -> Sandbox:
        """A strict worker reads the files of its pod, wherever that was unpacked."""
        if pod is None or not self.sandbox.strict:
            return self.sandbox
        return replace(self.sandbox, readable=(*self.sandbox.readable, str(pod.folder)))


def designated(given: str | os.PathLike[str], overrides: Overrides = NO_OVERRIDES) -> Target:
    """What a user names: a pod, or what ``Target.parse`` knows. Raises ``SpecError``."""
    pod = pods.at(given)
    if pod is None:
        return Target.parse(given, overrides)
    if overrides:
        raise SpecError(f"{pod} is a pod, which says its backend, options and ops itself; pack it anew with others")
    return Target(pods.peek(pod).name, pod=pod)


def limits(target: Target) -> Mapping[str, Any]:
    """What a pod says of the limits within which it is to run; nothing for anything else. Raises ``SpecError``."""
    return {} if target.pod is None else pods.peek(target.pod).section.limits


def sandbox_for(target: Target, given: str | Sandbox | None) -> Sandbox:
    """What the caller says, or else what a pod asks for. Raises ``SpecError``."""
    if given is not None:
        return sandbox_of(given)
    said = {} if target.pod is None else pods.peek(target.pod).section.sandbox
    return Sandbox(**said) if said else sandbox_of(LIMITS)


def environment(given: Env | str | os.PathLike[str]) -> Env:
    """An environment, or the path of one that exists."""
    return given if isinstance(given, Env) else Env.existing(given)


def own_environment(target: Target) -> Env:
    """What the target's file says of itself (PEP 723), or else a copy of this application's. Raises ``SpecError``."""
    if target.file is None or not has_script_block(target.file):
        return Env.current()
    return Env.script(target.file)
