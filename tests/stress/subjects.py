"""The models under test, and what is asked of each.

*plain* computes, *moody* is slow and fails as it is asked to, *keeper* does all that can be done with memory. These
three are under fire: their workers are killed. *steady* does what *keeper* does and is never harmed, so that its worker
grows old. *guest* is loaded and closed again and again.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import isopod
from stress import content
from stress.content import Maker, Request

_FILE = Path(__file__).resolve().parent / "models.py"
_TARGETS = {"plain": "plain", "moody": "Moody", "keeper": "Keeper", "steady": "Keeper", "guest": "Keeper"}
_LIMITS = {"keeper": 100 << 20, "guest": 80 << 20}  # bytes of shared memory: so little that it is full now and then
_LIMIT = 1 << 30
_HANG = 3600.0  # seconds
MEMORY = ["shared", "in_place", "view", "keep", "hand_over", "twice", "text", "plain"]


@dataclass
class Subject:
    """One model. ``under_fire``: its worker may die at any moment; ``may_close``: it may be closed in mid-call."""

    name: str
    model: isopod.Model
    under_fire: bool
    retried: bool = False
    may_close: bool = False
    inputs: int = field(default=0)

    @property
    def allowed(self) -> tuple[type[BaseException], ...]:
        found = content.UNDER_FIRE if self.under_fire else content.ORDINARY
        return (*found, isopod.Closed) if self.may_close else found

    def request(self, maker: Maker, number: int) -> Request:
        """The next call of this model."""
        choose = maker.random
        if self.name == "moody":
            made = self._of_a_moody_one(maker, number)
        elif self.name == "plain":
            made = self._tensor(maker, number)
        else:
            made = self._of_a_keeper(maker, number)
        if made.timeout is None and self.under_fire:
            made.timeout = _deadline(choose)
        extra = (isopod.WorkerTimeout,) if made.timeout is not None else ()
        made.allowed = (*(made.allowed or self.allowed), *extra)
        return made

    def _tensor(self, maker: Maker, number: int, way: str = "") -> Request:
        return maker.tensor(number, content.size(maker.random, maker.largest), way, self.model.empty)

    def _of_a_keeper(self, maker: Maker, number: int) -> Request:
        way = maker.random.choice(MEMORY)
        if way in ("text", "plain"):
            return maker.text(number) if way == "text" else maker.plain(number)
        if way == "in_place" and self.retried:
            way = "view"  # a call that changes its own input cannot be made again
        return self._tensor(maker, number, way)

    def _of_a_moody_one(self, maker: Maker, number: int) -> Request:
        at = maker.random.random()
        if at < 0.0004:
            made = maker.tensor(number, 100)
            made.inputs["seconds"] = _HANG
            made.timeout, made.must_fail = maker.random.uniform(0.02, 0.3), True
            return made
        if at < 0.001:
            made = maker.tensor(number, 100, maker.random.choice(["exit", "segfault"]))
            made.must_fail = True
            return made
        if at < 0.03:
            made = maker.tensor(number, 100, "raise")
            made.must_fail, made.allowed = True, (isopod.ModelError, *self.allowed)
            return made
        made = self._tensor(maker, number, "print" if at < 0.05 else "answer")
        if at > 0.97:
            made.inputs["seconds"] = maker.random.expovariate(1 / 0.002)
        return made


def _deadline(choose: random.Random) -> float | None:
    """Mostly none, sometimes one that is far away, now and then one that passes."""
    at = choose.random()
    if at < 0.0005:
        return choose.uniform(0.0001, 0.01)
    return choose.uniform(5.0, 60.0) if at < 0.1 else None


def load(name: str, **options: Any) -> Subject:
    """Load one; ``options`` are for those that are killed again and again, which no circuit is to end."""
    under_fire = name in ("plain", "moody", "keeper")
    given = {key: value for key, value in options.items() if value and under_fire}
    restart = isopod.Restart(max_restarts=None if under_fire else 0)
    limit = _LIMITS.get(name, _LIMIT)
    model = isopod.load(f"{_FILE}:{_TARGETS[name]}", name=name, memory_limit=limit, restart=restart, **given)
    return Subject(name, model, under_fire, retried=bool(given.get("retries")), may_close=name == "guest")


OPTIONS = ("workers", "retries", "standby")
