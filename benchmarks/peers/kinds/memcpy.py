"""What the memory allows: one copy into pages that are there already, and where an array comes back, a copy out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.peers import contract
from benchmarks.peers.contract import Array


class Peer(contract.Peer):
    def start(self) -> None:
        """Nothing to start."""

    def call(self, function: str, array: Array) -> Array:
        return self.prepare(function, array)()

    def prepare(self, function: str, array: Array) -> Callable[[], Array]:
        # The copy out is of the answer, which is there from the beginning: nothing is computed.
        answer = contract.function_of(function)(array)
        there, back = np.zeros_like(array), np.zeros_like(answer)

        def copies() -> Array:
            np.copyto(there, array)
            np.copyto(back, answer)
            return back

        return copies

    def stop(self) -> None:
        """Nothing to stop."""
