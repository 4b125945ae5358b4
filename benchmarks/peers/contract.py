"""What a peer is: one way to have a function called in another process.

A peer runs in its own environment, where isopod is not: this file and those in ``kinds`` may use the standard library,
numpy, and the peer's own library. Its worker calls what ``benchmarks.functions`` holds under a name.
"""

from __future__ import annotations

import abc
import importlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import functions, measure

Array = Any  # np.ndarray[Any, Any]

OWN = "own-"


class Unavailable(Exception):
    """This machine cannot run a peer; the text says why. It becomes its row."""


class Peer(abc.ABC):
    """One worker, and calls of it one after the other."""

    @abc.abstractmethod
    def start(self) -> None:
        """Start the worker. From here to the first answer is what a cold start takes. Raises ``Unavailable``."""

    @abc.abstractmethod
    def call(self, function: str, array: Array) -> Array:
        """What the worker makes of an ordinary array. Raises whatever the peer raises."""

    @abc.abstractmethod
    def stop(self) -> None:
        """End the worker in the way that the peer's manual says."""

    def prepare(self, function: str, array: Array) -> Callable[[], Array]:
        """A call that will be made again and again; what a careful user does once for that, such as to fill shared
        memory, is done here."""
        return lambda: self.call(function, array)

    def timed(self, call: Callable[[], object], count: int, pause: float) -> list[int]:
        """Nanoseconds of each of ``count`` calls, with ``pause`` seconds before each."""
        return measure.timed(call, count, pause)


def own_folder() -> Path:
    """A folder for what a peer's file brings along (a socket's path, a program): it counts as nobody's leftover."""
    return Path(tempfile.mkdtemp(prefix=OWN))


def function_of(name: str) -> Callable[[Array], Array]:
    """For a worker: the function that is meant by a name."""
    found: Callable[[Array], Array] = getattr(functions, name)
    return found


def make(kind: str, options: dict[str, Any]) -> Peer:
    """The peer of ``kinds/<kind>.py``."""
    made: Peer = importlib.import_module(f"benchmarks.peers.kinds.{kind}").Peer(**options)
    return made
