"""What a package declares of a model's inputs or outputs, held against what the model says itself."""

from __future__ import annotations

from typing import List, Sequence

from isopod.ipc.errors import SpecError
from isopod.ipc.spec import Dim, TensorSpec

_TEXT = ("text", "string", "bytes")  # names of the same thing where a framework knows only one


def agreed(side: str, declared: Sequence[TensorSpec], own: Sequence[TensorSpec], any_name: bool) -> List[TensorSpec]:
    """The declared specs, filled up with what only the model says. ``side`` is "input" or "output", for messages.

    A model that says nothing (``own`` is empty), or takes any name, is believed to fit. Raises ``SpecError`` that names
    both where they contradict each other, or where the model needs an input that is not declared.
    """
    if not own:
        return list(declared)
    known = {spec.name: spec for spec in own}
    found = []
    for spec in declared:
        its = known.pop(spec.name, None)
        if its is None and not any_name:
            raise SpecError(
                f"its package declares the {side} {spec.name!r}, and the model has none of that name; "
                f"it has {', '.join(one.name for one in own)}"
            )
        found.append(spec if its is None else _joined(side, spec, its))
    if side == "input":
        needed = [name for name, its in known.items() if its.required]
        if needed:
            raise SpecError(f"the model needs the input {needed[0]!r}, which its package does not declare")
    return found


def _joined(side: str, said: TensorSpec, its: TensorSpec) -> TensorSpec:
    if said.dtype and its.dtype and said.dtype != its.dtype and not (said.dtype in _TEXT and its.dtype in _TEXT):
        raise SpecError(
            f"its package declares the {side} {said.name!r} as {said.dtype}, and the model has it as {its.dtype}"
        )
    if said.shape is None or its.shape is None:
        shape = its.shape if said.shape is None else said.shape
    elif len(said.shape) != len(its.shape) or not all(map(_fits, said.shape, its.shape)):
        raise SpecError(
            f"its package declares the {side} {said.name!r} with the shape {_shown(said.shape)}, "
            f"and the model has it with {_shown(its.shape)}"
        )
    else:
        shape = tuple(b if a is None else a for a, b in zip(said.shape, its.shape))
    return TensorSpec(said.name, said.dtype or its.dtype, shape, said.required and its.required)


def _fits(said: Dim, its: Dim) -> bool:
    return said == its or not (isinstance(said, int) and isinstance(its, int))


def _shown(shape: Sequence[Dim]) -> str:
    return "({})".format(", ".join("any" if dim is None else str(dim) for dim in shape))
