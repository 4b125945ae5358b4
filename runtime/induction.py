"""How a worker is taken in: from its hello, by what it is told to load, to the look at its lock before it may go on."""

from __future__ import annotations

import dataclasses
from typing import Any

from isopod.ipc.arena import Arena
from isopod.ipc.errors import ProtocolError, SandboxUnavailable
from isopod.runtime.blueprint import Blueprint
from isopod.runtime.control import Control
from isopod.runtime.keeper import Keeper
from isopod.runtime.mailboxes import Mailboxes
from isopod.runtime.process import WorkerProcess
from isopod.runtime.sandbox.look import examine, moved_to
from isopod.runtime.sandbox.report import SandboxReport
from isopod.runtime.sandbox.scratch import Scratch

_CULPRITS = ("sandbox", "caller", "environment", "model")


class Induction:
    """What one worker is given, and what was seen of it. The monitor thread calls ``greet`` and ``check``."""

    def __init__(self, blueprint: Blueprint, process: WorkerProcess, control: Control, keeper: Keeper) -> None:
        self.report: SandboxReport | None = None  # once it is seen that the sandbox holds
        self._blueprint = blueprint
        self._process = process
        self._control = control
        size = blueprint.sandbox.scratch
        self._scratch = Scratch(size, process.pid, keeper, process.kill) if size else None

    def greet(self, mail: Mailboxes, inputs: Arena, log_level: int) -> None:
        """Answer its hello: hand everything over that is shared, and say what to load. Raises ``OSError``."""
        order = self._blueprint.order
        if self._scratch is not None:
            order = dataclasses.replace(order, sandbox={**order.sandbox, "scratch": self._scratch.path})
        self._control.attach(mail.descriptors, [home.segment for home in inputs.segments], order, log_level)

    def check(self, done: dict[str, Any]) -> tuple[str, dict[str, str]] | None:
        """It says that it is locked, and waits: let it go on, or end it, and return why as a worker's failure.

        Raises ``ProtocolError``, ``OSError``.
        """
        order, sandbox = self._blueprint.order, self._blueprint.sandbox
        if sandbox.allow_subprocess:
            self._process.moved(*moved_to(done))
        try:
            self.report = examine(
                order.name, self._process.pid, sandbox, order.memory_limit, done, order.sandbox, self._process.cpus
            )
        except SandboxUnavailable as error:
            self._process.kill("its sandbox does not hold")
            text = {"type": "SandboxUnavailable", "message": str(error), "traceback": "", "missing": ""}
            return "seen", {**text, "culprit": "sandbox"}
        self._control.send("proceed")
        return None

    def checked_failure(self, fields: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The culprit and the error of a ``failed`` message. Raises ``ProtocolError`` where it blames the sandbox
        though that has been seen to hold: a model must not say so, for it would then be loaded with less of one.
        """
        culprit = fields["culprit"]
        if culprit not in _CULPRITS or (culprit == "sandbox" and self.report is not None):
            raise ProtocolError(f"it failed to load, and blames {culprit!r:.40} for it")
        return culprit, fields["error"]

    def close(self) -> None:
        """The worker is dead."""
        if self._scratch is not None:
            self._scratch.close()
