"""Examples run in a fresh worker: of a pod that has just been packed, or of one that somebody wants to see work."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from isopod.ipc.errors import IsopodError, SpecError
from isopod.runtime.environment import Env
from isopod.runtime.loading import load

from . import specs
from .config import Config
from .examples import Example


@dataclass(frozen=True)
class Ran:
    """One example that was run. ``problem`` is empty where it went well; ``compared``: its outputs were known."""

    name: str
    compared: bool
    problem: str = ""


def run(
    place: Path,
    says: Config,
    examples: Mapping[str, Example],
    *,
    env: Env | str | os.PathLike[str] | None = None,
    timeout: float | None = None,
) -> Iterator[Ran]:
    """Load a pod, in a worker that has seen nothing else, and run them in turn.

    An example that fails is told in its ``Ran``. Raises what ``load`` raises. ``timeout`` in seconds, for each.
    """
    with load(place, env=env, workers=1, standby=0, timeout=timeout) as model:
        for name, example in examples.items():
            compared = example.outputs is not None
            try:
                got = model(dict(example.inputs))
                specs.check_values("output", says.outputs, got)
                if example.outputs is not None:
                    compare(got, example)
            except IsopodError as error:  # it is what is to be told of this one
                yield Ran(name, compared, str(error))
            else:
                yield Ran(name, compared)


def compare(got: Mapping[str, Any], example: Example) -> None:
    """Text must be the same, and numbers close. Raises ``SpecError`` that names the output and where it is off."""
    for name, wanted in (example.outputs or {}).items():
        if name not in got:
            raise SpecError(f"the model gave no {name!r}; it gave {', '.join(got) or 'nothing'}")
        expected, actual = np.asarray(wanted), np.asarray(got[name])
        if expected.shape != actual.shape:
            raise SpecError(f"{name!r} has the shape {actual.shape}, and {expected.shape} was expected")
        if not _numeric(expected) or not _numeric(actual):
            differ = np.asarray(expected != actual, dtype=bool)
        else:
            wide, other = (array.astype(_wide(array)) for array in (expected, actual))
            differ = ~np.isclose(other, wide, rtol=example.rtol, atol=example.atol, equal_nan=True)
        if differ.any():
            raise SpecError(f"{name!r} is not what was expected: {_first(differ, expected, actual)}")


def _first(differ: np.ndarray[Any, Any], expected: np.ndarray[Any, Any], actual: np.ndarray[Any, Any]) -> str:
    at = tuple(int(index) for index in np.argwhere(differ)[0]) if differ.ndim else ()
    where = f" at {at}" if at else ""
    return (
        f"{int(differ.sum())} of {differ.size} values differ, as {actual[at]!r:.60} where {expected[at]!r:.60} "
        f"was expected{where}"
    )


def _numeric(array: np.ndarray[Any, Any]) -> bool:
    return array.dtype.kind in "biufcV"


def _wide(array: np.ndarray[Any, Any]) -> str:
    """A dtype that numpy compares: those of ml_dtypes become float64."""
    return array.dtype.str if array.dtype.kind in "biufc" and array.dtype.isbuiltin else "float64"
