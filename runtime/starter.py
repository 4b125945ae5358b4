"""How a fleet's workers come to be: spawned each by itself, or forked from a template of their environment."""

from __future__ import annotations

from typing import Literal, get_args

from isopod.ipc.errors import SpecError
from isopod.runtime.blueprint import Blueprint
from isopod.runtime.placement import all_but_one_core
from isopod.runtime.supervisor import Crew
from isopod.runtime.template import Kind, Template, Then

Start = Literal["spawn", "fork-template"]


def start_named(name: str) -> Start:
    """Raises ``SpecError`` for a way that there is not."""
    for known in get_args(Start):
        if name == known:
            return known  # type: ignore[no-any-return]
    raise SpecError(f"start cannot be {name!r}; it is one of {', '.join(map(repr, get_args(Start)))}")


class Starter:
    """Orders processes for one blueprint, until it is closed."""

    def __init__(self, blueprint: Blueprint, crew: Crew) -> None:
        self._blueprint = blueprint
        self._crew = crew
        self._template: Template | None = None
        if blueprint.start == "fork-template":
            order = blueprint.order
            self._template = crew.templates.take(Kind.of(blueprint.python, blueprint.environ(), order.environment))

    def order(self, cpus: frozenset[int] | None, then: Then) -> None:
        """Have a worker started on some processors (None: all of ours, but for a strict one). Does not wait.

        ``then`` is called on a thread of the crew's, and may not block.
        """
        blueprint, template = self._blueprint, self._template
        if template is None:
            chosen = all_but_one_core if cpus is None and blueprint.sandbox.strict else cpus
            self._crew.spawner.order(blueprint.python, blueprint.environ(), chosen, then)
            return
        target = blueprint.order.target
        modules = (*blueprint.warm, f"isopod.opeworker.backends.{target['backend']}")  # most import their framework
        template.order(blueprint.order.name, modules, str(target["file"]), cpus, then, blueprint.load_timeout)

    def close(self) -> None:
        """No more orders. Twice is once."""
        template, self._template = self._template, None
        if template is not None:
            self._crew.templates.leave(template)
