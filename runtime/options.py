"""What ``load`` was told, what a pod says of itself, and our defaults: the first of them that says anything holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from isopod.ipc.errors import SpecError
from isopod.runtime.calls import FOREVER, check_seconds
from isopod.runtime.deadlines import GRACE

DEFAULT_MEMORY_LIMIT = 4 << 30
# What a pod may say, and as what kind of number.
LIMITS: Mapping[str, type[int] | type[float]] = {
    "timeout": float,
    "load_timeout": float,
    "grace": float,
    "memory_limit": int,
    "workers": int,
    "standby": int,
    "retries": int,
    "max_waiting": int,
    "max_calls": int,
    "max_age": float,
    "max_rss": int,
    "threads": int,
}


@dataclass(frozen=True)
class Options:
    """Times in seconds, sizes in bytes; what they mean is told by ``load``."""

    timeout: float | None = None
    load_timeout: float = 300.0
    grace: float = GRACE
    memory_limit: int = DEFAULT_MEMORY_LIMIT
    workers: int = 1
    standby: int = 0
    retries: int = 0
    max_waiting: int | None = None
    max_calls: int | None = None
    max_age: float | None = None
    max_rss: int | None = None
    threads: Any = None

    @classmethod
    def of(cls, asked: Mapping[str, Any], said: Mapping[str, Any]) -> Options:
        """``asked`` may hold None, which is nothing asked. Raises ``SpecError``."""
        chosen = {item.name: asked.get(item.name) for item in fields(cls)}
        options = cls(**{**said, **{name: value for name, value in chosen.items() if value is not None}})
        options._check()
        return options

    def _check(self) -> None:
        if self.timeout is not None:
            check_seconds(self.timeout, "timeout")
        check_seconds(self.load_timeout, "load_timeout")
        check_seconds(self.grace, "grace", zero=True)
        if self.memory_limit < 1 << 20:
            raise SpecError(f"a memory_limit of {self.memory_limit} bytes is too small; at least 1 MiB")

    @property
    def patience(self) -> float:
        """``grace``, as far as a clock can count."""
        return min(self.grace, FOREVER)
