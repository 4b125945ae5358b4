"""Whether a model, by what it says of itself, can be an implementation of a problem: every contradiction at once.

A model must take each input that the problem allows, and give only outputs that the problem allows. So a model of a
fixed size does not implement a problem that leaves the size free, but one that takes more than it is asked to does.
Where a model says nothing (a Python function says only names), nothing is contradicted, and each call is checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from isopod.ipc.spec import Dim, TensorSpec
from isopod.runtime.problems.fields import DTYPES, Field, Input, shape_text
from isopod.runtime.problems.problem import Problem


def contradictions(
    problem: Problem, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], *, any_input: bool
) -> list[str]:
    """One sentence for each; ``any_input``: the model takes inputs beside ``inputs``."""
    takes = {spec.name: spec for spec in inputs}
    gives = {spec.name: spec for spec in outputs}
    found = [*_missing_inputs(problem, takes, any_input=any_input)]
    for field in problem.inputs:
        if field.name in takes:
            found += _of_one("input", field, takes[field.name])
    found += _tied(problem, takes)
    for output in problem.outputs:
        if output.name in gives:
            found += _of_one("output", output, gives[output.name])
        elif gives:
            found.append(f"output {output.name!r} is missing: it gives {', '.join(gives)}")
    return found


def _missing_inputs(problem: Problem, takes: Mapping[str, TensorSpec], *, any_input: bool) -> Iterator[str]:
    asked = {field.name: field for field in problem.inputs}
    for name in asked:
        if name not in takes and not any_input:
            yield f"input {name!r} is unknown to it: it takes {', '.join(takes) or 'no inputs at all'}"
    for name, spec in takes.items():
        field = asked.get(name)
        if field is None and spec.required:
            yield f"it needs the input {name!r}, which the problem does not have"
        elif field is not None and spec.required and not field.required and field.default is None:
            yield f"it needs the input {name!r}, which callers may leave out: give it a default"


def _of_one(kind: str, field: Field, spec: TensorSpec) -> Iterator[str]:
    label = f"{kind} {field.name!r}"
    if field.dtype and spec.dtype in DTYPES and field.dtype != spec.dtype:
        yield f"{label} is {field.dtype}, and {'it takes' if kind == 'input' else 'it gives'} {spec.dtype}"
    if field.shape is None or spec.shape is None:
        return
    if len(field.shape) != len(spec.shape):
        yield (
            f"{label} is {shape_text(field.shape)}, of {len(field.shape)} dimensions, "
            f"and the model's is {shape_text(spec.shape)}, of {len(spec.shape)}"
        )
        return
    for axis, (asked, own) in enumerate(zip(field.shape, spec.shape, strict=True)):
        if isinstance(asked, int) and isinstance(own, int) and asked != own:
            yield f"{label}: dimension {axis} is {asked}, and the model's is {own}"
        elif isinstance(field, Input) and isinstance(own, int) and not isinstance(asked, int):
            size = "of any size" if asked is None else f"{asked}, of any size"
            yield f"{label}: dimension {axis} is {size}, and the model takes only {own}"


def _tied(problem: Problem, takes: Mapping[str, TensorSpec]) -> Iterator[str]:
    """Sizes that must be the same for the model, and need not be for the problem."""
    uses: dict[str, list[tuple[str, int, Dim]]] = {}
    for field in problem.inputs:
        own = takes[field.name].shape if field.name in takes else None
        if own is None or field.shape is None or len(own) != len(field.shape):
            continue
        for axis, (dim, asked) in enumerate(zip(own, field.shape, strict=True)):
            if isinstance(dim, str):
                uses.setdefault(dim, []).append((field.name, axis, asked))
    for symbol, places in uses.items():
        first, *others = places
        for other in others:
            if other[2] is None or other[2] != first[2]:
                yield (
                    f"dimension {first[1]} of input {first[0]!r} and dimension {other[1]} of input {other[0]!r} are "
                    f"one size to the model ({symbol}), and two to the problem"
                )
                break
