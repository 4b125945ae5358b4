"""What implementations are asked: inputs from files, from the caller, or made at random from a problem."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from isopod.ipc.errors import SpecError
from isopod.runtime.problems import Input, Problem
from isopod.runtime.problems.check import Check
from isopod.runtime.problems.contract import Cast
from isopod.runtime.problems.defaults import numeric_dtype
from isopod.runtime.problems.fields import symbols_of

Given = Mapping[str, Any] | str | os.PathLike[str]
_LARGEST = 8  # of a size that is left free
_WORDS = ("", "shrimp", "pill bug", "Ísöpöd", "日本語", "🦐")


class Sample(NamedTuple):
    """The inputs of one call, and what they are called in a report."""

    name: str
    inputs: Mapping[str, Any]


def collect(
    given: Given | Iterable[Given],
    problem: Problem | None,
    *,
    stacked: bool = False,
    number: int = 0,
    seed: int = 0,
    sizes: Mapping[str, int] | None = None,
    cast: Cast | None = None,
) -> list[Sample]:
    """All that was given, and ``number`` more at random; checked against the problem, if there is one.

    Raises ``SpecError``, with the name of the sample that is at fault.
    """
    items = [given] if isinstance(given, Mapping | str | os.PathLike) else list(given)
    found: list[Sample] = []
    for position, item in enumerate(items):
        if isinstance(item, Mapping):
            found += _unstacked(Sample(f"inputs {position}", item), stacked)
        else:
            for sample in _read(Path(item)):
                found += _unstacked(sample, stacked)
    if number:
        found += random(problem, number, seed, sizes or {})
    if not found:
        raise SpecError("there are no inputs to compare with: give some, or ask for random ones")
    return found if problem is None else [_checked(sample, problem, cast) for sample in found]


def _read(path: Path) -> Iterator[Sample]:
    files = sorted(path.glob("*.npz")) if path.is_dir() else [path]
    if not files:
        raise SpecError(f"there is no .npz file in {path}")
    for file in files:
        try:
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                yield Sample(file.name, {name: arrays[name] for name in arrays.files})
        except (OSError, ValueError, AttributeError, TypeError, zipfile.BadZipFile, EOFError) as error:
            # numpy offers to unpickle here, which would run code of whoever made the file
            why = "it holds pickled objects, which are never opened" if "allow_pickle" in str(error) else error
            raise SpecError(f"{file} cannot be read as .npz (numpy.savez): {why}") from None


def _unstacked(sample: Sample, stacked: bool) -> Iterator[Sample]:
    if not stacked:
        yield sample
        return
    lengths = {name: len(value) if np.ndim(value) else 0 for name, value in sample.inputs.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise SpecError(f"{sample.name}: stacked inputs have the same number of samples along their first axis: {told}")
    for number in range(next(iter(lengths.values()))):
        yield Sample(f"{sample.name}[{number}]", {name: value[number] for name, value in sample.inputs.items()})


def _checked(sample: Sample, problem: Problem, cast: Cast | None) -> Sample:
    known = {field.name: field for field in problem.inputs}
    faults = [f"{problem} has no input {name!r}" for name in sample.inputs if name not in known]
    faults += [
        f"the input {field.name!r} is missing"
        for field in problem.inputs
        if field.required and field.name not in sample.inputs
    ]
    filled = {field.name: field.filling() for field in problem.inputs if field.name not in sample.inputs}
    inputs = {**sample.inputs, **{name: value for name, value in filled.items() if value is not None}}
    instead, wrong = Check("input", [field.spec for field in problem.inputs], cast).examine(inputs)
    if faults + wrong:
        raise SpecError(f"{sample.name}: " + "\n  ".join(faults + wrong))
    return Sample(sample.name, {**inputs, **instead})


# ---------------------------------------------------------------------- at random


def random(problem: Problem | None, number: int, seed: int, sizes: Mapping[str, int]) -> list[Sample]:
    """Samples from a problem's inputs: normal floats, small integers, words; each symbol one size in each of them.

    The same seed gives the same samples. ``sizes`` of symbols that are given are those; any other is 1 to 8. Raises
    ``SpecError`` where a dtype or a rank is not declared.
    """
    if problem is None:
        raise SpecError("random inputs are made from a problem: give one")
    symbols = symbols_of(problem.inputs)
    for symbol in sizes:
        if symbol not in symbols:
            there = ", ".join(symbols) or "none at all"
            raise SpecError(f"{problem} has no symbol {symbol!r} in its inputs; it has {there}")
    samples = []
    for position in range(number):
        generator = np.random.default_rng([seed, position])
        chosen = {symbol: sizes.get(symbol) or int(generator.integers(1, _LARGEST + 1)) for symbol in symbols}
        inputs = {field.name: _random(field, chosen, generator) for field in problem.inputs if field.required}
        samples.append(Sample(f"random {position}", inputs))
    return samples


def _random(field: Input, sizes: Mapping[str, int], generator: np.random.Generator) -> Any:
    if not field.dtype or field.shape is None:
        what = "dtype" if not field.dtype else "shape"
        raise SpecError(f"input {field.name!r} declares no {what}, so no random one can be made")
    shape = tuple(
        int(generator.integers(1, _LARGEST + 1)) if dim is None else sizes[dim] if isinstance(dim, str) else dim
        for dim in field.shape
    )
    if field.dtype in ("text", "bytes"):
        words = np.array(_WORDS)[generator.integers(0, len(_WORDS), shape)]
        return np.char.encode(words, "utf-8") if field.dtype == "bytes" else np.asarray(words)
    dtype = numeric_dtype(field.dtype)
    if dtype is None:
        raise SpecError(f"input {field.name!r} is {field.dtype}, which needs ml_dtypes: add it")
    if dtype.kind == "b":
        return generator.integers(0, 2, shape).astype(dtype)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return generator.integers(max(limits.min, 0), min(limits.max, 255), shape, endpoint=True).astype(dtype)
    if dtype.kind == "c":
        return (generator.normal(size=shape) + 1j * generator.normal(size=shape)).astype(dtype)
    return np.asarray(generator.normal(size=shape)).astype(dtype)


def named(samples: Sequence[Sample]) -> str:
    return samples[0].name if len(samples) == 1 else f"{len(samples)} samples"
