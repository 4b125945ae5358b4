"""What ``load`` was told of a model's interface: the problem it is to solve, and what becomes of each call."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal, get_args

from isopod.ipc.errors import SpecError
from isopod.runtime.problems.problem import Problem

Cast = Literal["safe", "same_kind"]


@dataclass(frozen=True)
class Contract:
    """``check``: whether dtypes and shapes of each call are looked at. ``cast`` as in ``numpy.can_cast``; None: never.
    ``batch`` is the symbol of the first dimension where calls are batched, and None where they are not.

    Raises ``SpecError``.
    """

    problem: Problem | None = None
    check: bool = True
    cast: Cast | None = None
    batch: str | None = None

    def __post_init__(self) -> None:
        if self.cast is not None and self.cast not in get_args(Cast):
            raise SpecError(f"cast is {' or '.join(map(repr, get_args(Cast)))}, or None, not {self.cast!r}")
        if self.cast is not None and not self.check:
            raise SpecError(f"cast={self.cast!r} is a part of the check, which check=False switches off")
        if self.problem is not None and not isinstance(self.problem, Problem):
            raise SpecError(f"problem is an isopod.Problem or the path of its TOML file, not {self.problem!r:.100}")


def problem_of(given: Any) -> Any:
    """A problem, from its file where it is named by that. Raises ``SpecError``."""
    return Problem.from_toml(given) if isinstance(given, str | os.PathLike) else given
