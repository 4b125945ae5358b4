"""Two POSIX semaphores, one process that rings and one that answers, in Python: parking alone, without a message."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from benchmarks.peers import contract
from benchmarks.peers.contract import Array
from benchmarks.peers.yardsticks import ping_pong


class Peer(contract.Peer):
    def start(self) -> None:
        self._stack = contextlib.ExitStack()
        self._ping_pong = self._stack.enter_context(ping_pong())

    def call(self, function: str, array: Array) -> Array:
        self._ping_pong()

    def prepare(self, function: str, array: Array) -> Callable[[], Array]:
        return self._ping_pong

    def stop(self) -> None:
        self._stack.close()
