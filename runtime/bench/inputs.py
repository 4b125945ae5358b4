"""What a model is asked in a benchmark: inputs of one size or of several, given or made.

In this order: files or arrays that the caller gives; arrays at random, where a problem or descriptions of inputs are
given or sizes are named; the examples of a pod; arrays at random after what the model declares of itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from isopod.ipc.errors import SpecError
from isopod.ipc.transfer import as_array
from isopod.runtime import pods
from isopod.runtime.comparison.samples import Given, Sample, collect, random
from isopod.runtime.model import Model
from isopod.runtime.pods import examples
from isopod.runtime.pods.contents import Folder
from isopod.runtime.problems import Input, Problem

_MOST_SIZES = 12
_HINT = (
    "give an .npz file of arrays (--inputs), or describe them: --input image:float32:batch,3,224,224 --sizes batch=1,8"
)


@dataclass(frozen=True)
class Size:
    """Inputs that are alike, which calls take in turn. ``label`` is what tells it from the others in a table."""

    label: str
    shapes: str
    nbytes: int
    samples: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Wish:
    """What the caller says of the inputs. ``random`` is how many samples of each size; ``sizes`` are those of symbols,
    of which one may have several."""

    given: Given | Iterable[Given] = ()
    problem: Problem | None = None
    described: Sequence[Input] = ()
    random: int = 0
    seed: int = 0
    sizes: Mapping[str, Sequence[int]] | None = None

    def __post_init__(self) -> None:
        if self.problem is not None and self.described:
            raise SpecError("describe the inputs by a problem or one by one, not both")
        swept = [symbol for symbol, sizes in (self.sizes or {}).items() if len(sizes) != 1]
        if len(swept) > 1:
            raise SpecError(f"one symbol may have several sizes, not {' and '.join(swept)}")


def inputs_for(model: Model, target: str | os.PathLike[str] | None, wish: Wish) -> list[Size]:
    """Sizes from small to large. Raises ``SpecError`` where there is nothing to ask, and says what to give."""
    given = wish.given if isinstance(wish.given, Mapping | str | os.PathLike) else list(wish.given)
    if given:
        return _by_shape(collect(given, wish.problem))
    if not (wish.problem or wish.described or wish.sizes or wish.random) and target is not None:
        shown = _examples(target)
        if shown:
            return _by_shape(shown)
    return _at_random(wish, _source(model, wish))


def _examples(target: str | os.PathLike[str]) -> list[Sample]:
    place = pods.at(target)
    if place is None:
        return []
    pod = pods.open_pod(place)
    try:
        names = examples.names(Folder(pod.folder))
        return [Sample(name, examples.read(pod.folder, name).inputs) for name in names]
    finally:
        pod.release()


def _source(model: Model, wish: Wish) -> Problem:
    """What random inputs are made from."""
    if wish.problem is not None:
        return wish.problem
    # One that may be left out is given, too, where it is known how: a package of Neuropod requires none.
    described = wish.described or [
        Input(spec.name, spec.dtype, _named_dims(spec.name, spec.shape))
        for spec in model.inputs
        if spec.required or (spec.dtype and spec.shape is not None)
    ]
    vague = [field.name for field in described if not field.dtype or field.shape is None]
    if vague:
        raise SpecError(f"model {model.name!r} does not say how its inputs look ({', '.join(vague)}): {_HINT}")
    return Problem(model.name, inputs=tuple(described))


def _named_dims(name: str, shape: Sequence[Any] | None) -> tuple[Any, ...] | None:
    """Each free dimension with a symbol, so that its size can be given: those that have none are NAME_0, NAME_1, …"""
    if shape is None:
        return None
    label = name if name.isidentifier() else "input"
    return tuple(
        f"{label}_{axis}"
        if dim is None
        else dim
        if not isinstance(dim, str) or dim.isidentifier()
        else f"{label}_{axis}"
        for axis, dim in enumerate(shape)
    )


def _at_random(wish: Wish, problem: Problem) -> list[Size]:
    sizes = dict(wish.sizes or {})
    swept = next((symbol for symbol, values in sizes.items() if len(values) > 1), None)
    fixed = {symbol: values[0] for symbol, values in sizes.items() if symbol != swept}
    number = max(1, wish.random)
    if swept is None:
        return _by_shape(random(problem, number, wish.seed, fixed))
    found = []
    for size in sizes[swept]:
        made = random(problem, number, wish.seed, {**fixed, swept: size})
        found.append(_size(f"{swept}={size}", made))
    return found


def _by_shape(samples: Sequence[Sample]) -> list[Size]:
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(_shapes(sample.inputs), []).append(sample)
    if len(groups) > _MOST_SIZES:
        raise SpecError(f"these inputs have {len(groups)} different forms; at most {_MOST_SIZES} can be told apart")
    found = [_size("", group) for group in groups.values()]
    found.sort(key=lambda one: one.nbytes)
    labels = [amount(one.nbytes) for one in found]
    return [
        Size(label if labels.count(label) == 1 else one.shapes, one.shapes, one.nbytes, one.samples)
        for label, one in zip(labels, found, strict=True)
    ]


def _size(label: str, samples: Sequence[Sample]) -> Size:
    first = samples[0].inputs
    return Size(label, _shapes(first), nbytes_of(first), tuple(sample.inputs for sample in samples))


def _shapes(inputs: Mapping[str, Any]) -> str:
    told = []
    for name, value in inputs.items():
        array = as_array(value)
        told.append(f"{name} {type(value).__name__}" if array is None else f"{name} {_kind(array)} {array.shape}")
    return ", ".join(told)


def _kind(array: np.ndarray[Any, Any]) -> str:
    return {"U": "text", "O": "text", "T": "text", "S": "bytes"}.get(array.dtype.kind) or str(array.dtype)


def nbytes_of(inputs: Mapping[str, Any]) -> int:
    arrays = [array for value in inputs.values() if (array := as_array(value)) is not None]
    return sum(array.nbytes for array in arrays)


def amount(size: int) -> str:
    """A number of bytes, in the unit that suits it (of 1024)."""
    for unit, scale in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size} B"


def described(text: str) -> Input:
    """From ``NAME:DTYPE:DIMS``, as ``image:float32:batch,3,any``. Raises ``SpecError``."""
    name, *rest = text.split(":")
    if len(rest) not in (1, 2):
        raise SpecError(f"{text!r} is not NAME:DTYPE:DIMS, as image:float32:batch,3,224,224")
    words = [word.strip() for word in rest[1].split(",")] if len(rest) > 1 and rest[1] else []
    dims = [None if word in ("any", "?") else int(word) if word.isdecimal() else word for word in words]
    return Input(name, rest[0], _named_dims(name, dims))


def sizes_of(texts: Iterable[str]) -> dict[str, list[int]]:
    """From ``SYMBOL=N,N,...``, where a number may end with k or M (1024, 1024²). Raises ``SpecError``."""
    found: dict[str, list[int]] = {}
    for text in texts:
        symbol, _, numbers = text.partition("=")
        try:
            found[symbol] = [_number(word) for word in numbers.split(",")]
        except ValueError:
            raise SpecError(f"{text!r} is not SYMBOL=N or SYMBOL=N,N, as batch=1,8,64 or n=1k,1M") from None
    return found


def _number(word: str) -> int:
    word = word.strip()
    scale = {"k": 1 << 10, "K": 1 << 10, "M": 1 << 20}.get(word[-1:], 1)
    number = int(word[:-1] if scale > 1 else word) * scale
    if number < 1:
        raise ValueError(word)
    return number


def named(target: str | os.PathLike[str]) -> str:
    """A model as it is told of: by the last part of its path."""
    return Path(os.fspath(target)).name
