"""The outputs of a model against its problem: what is looked at when an answer is there."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from isopod.ipc.errors import ModelError
from isopod.runtime.problems.check import Check
from isopod.runtime.problems.problem import Problem

# Whether the outputs of a call are not as the problem says. Returned and not raised: with a traceback, they would stay.
Verdict = Callable[[Mapping[str, Any]], ModelError | None]


class Outcome:
    """Compiled once for a model and a problem."""

    def __init__(self, model: str, problem: Problem) -> None:
        self._who = f"model {model!r} did not keep to {problem}"
        self._names = dict.fromkeys(field.name for field in problem.outputs)
        # those of which nothing else is said, so that nothing else would miss them
        self._unsaid = {field.name for field in problem.outputs if not field.dtype and field.shape is None}
        self._check = Check("output", [field.spec for field in problem.outputs], bound=problem.shared)
        # where in the inputs the sizes of shared symbols are seen
        self._places = [
            (self._check.numbers[dim], field.name, axis)
            for field in problem.inputs
            for axis, dim in enumerate(field.shape or ())
            if dim in problem.shared and isinstance(dim, str)
        ]

    def of(self, values: Mapping[str, Any]) -> Verdict:
        """What is to look at the outputs of a call with these inputs, which were checked."""
        if not self._places:
            return functools.partial(self._judge, self._check.unknown)
        sizes = self._check.unknown[:]
        for number, name, axis in self._places:
            if sizes[number] == -1 and name in values:
                sizes[number] = values[name].shape[axis]
        return functools.partial(self._judge, sizes)

    def _judge(self, bound: list[int], outputs: Mapping[str, Any]) -> ModelError | None:
        if self._check.fits(outputs, bound) and (not self._unsaid or outputs.keys() >= self._unsaid):
            return None
        faults = [
            f"output {name!r} is missing; it gave {', '.join(outputs) or 'nothing'}"
            for name in self._names
            if name not in outputs
        ]
        faults += self._check.examine(outputs, bound)[1]
        return ModelError(f"{self._who}: " + "\n  ".join(faults)) if faults else None
