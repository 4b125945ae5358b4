# mypy: ignore-errors
"""A hostile model: each call is one attack, by name. It says what it believes; the harness looks at the victims."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import descendants
import files
import kernel
import network
import numpy as np
import processes
import strange
import wire

from isopod import worker

ATTACKS: dict[str, Callable[[dict[str, Any], Any], Any]] = {
    **files.ATTACKS,
    **network.ATTACKS,
    **processes.ATTACKS,
    **descendants.ATTACKS,
    **kernel.ATTACKS,
    **wire.ATTACKS,
    **strange.ATTACKS,
}


class Attacker:
    """``victims`` are paths, ports and numbers of what the harness has made to be attacked."""

    def __init__(self, victims: dict[str, Any]) -> None:
        self.victims = victims

    def __call__(self, attack: str, x: Any, **more: Any) -> Any:
        if attack == "peace":
            return {"y": x + 1}
        try:
            outcome = ATTACKS[attack](self.victims, x)
        except Exception as error:  # goes into the answer: an attack that is refused is what most of these are for
            return {"outcome": "refused", "why": f"{type(error).__name__}: {error}"[:300]}
        if isinstance(outcome, dict):
            return outcome
        return {"outcome": "succeeded" if outcome else "refused", "why": repr(outcome)[:300]}


class Neighbour:
    """Another model. It returns what the attacker is given, and beside it, in the same memory, what is not for it."""

    def __call__(self, marker: str) -> Any:
        given, secret = worker.empty(4096, np.float64), worker.empty(len(marker), np.uint8)
        given[...] = np.random.default_rng(1).random(4096)
        secret[...] = np.frombuffer(marker.encode(), np.uint8)
        return {"given": given, "secret": secret}


def names() -> list[str]:
    return list(ATTACKS)


if __name__ == "__main__":
    sys.exit("this is a model")
