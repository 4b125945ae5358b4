"""What ``isopod bench`` and ``isopod trace`` are told of a model and its inputs, read from their arguments."""

from __future__ import annotations

import argparse
from typing import Any

from isopod import Problem, SpecError
from isopod.runtime.bench.inputs import Wish, described, sizes_of


def wish_of(arguments: argparse.Namespace) -> Wish:
    """Raises ``SpecError``."""
    if arguments.random < 0:
        raise SpecError(f"--random is a number of samples, not {arguments.random}")
    problem = None if arguments.problem is None else Problem.from_toml(arguments.problem)
    return Wish(
        arguments.inputs, problem, tuple(map(described, arguments.input)), arguments.random, arguments.seed,
        sizes_of(arguments.sizes),
    )  # fmt: skip


def options_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Those of ``isopod.load`` that were given."""
    given = {name: getattr(arguments, name) for name in ("env", "workers", "sandbox", "device")}
    return {name: value for name, value in given.items() if value is not None}


def seconds_of(option: str, text: str) -> float:
    """From ``1ms``, ``50us``, ``0.5s`` or a number of seconds. Raises ``SpecError``."""
    scales = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
    unit = next((unit for unit in scales if text.endswith(unit)), "")
    try:
        return float(text.removesuffix(unit)) * scales.get(unit, 1.0)
    except ValueError:
        raise SpecError(f"{option} {text}: write a time, as 1ms, 50us or 0.5s") from None


def numbers_of(option: str, text: str) -> tuple[int, ...]:
    """From ``1,2,4``. Raises ``SpecError``."""
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise SpecError(f"{option} {text}: write whole numbers, as 1,2,4") from None
