"""Two queues of ``torch.multiprocessing``, whose tensors cross in shared memory, by a descriptor each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.peers import contract
from benchmarks.peers.contract import Array


class Peer(contract.Peer):
    def start(self) -> None:
        import torch
        import torch.multiprocessing

        torch.set_num_threads(1)
        self._tensor: Callable[[Array], Any] = torch.from_numpy
        context: Any = torch.multiprocessing.get_context("spawn")
        self._there, self._back = context.SimpleQueue(), context.SimpleQueue()
        self._process = context.Process(target=_serve, args=(self._there, self._back), daemon=True)
        self._process.start()

    def call(self, function: str, array: Array) -> Array:
        self._there.put((function, self._tensor(array)))
        return self._back.get().numpy()

    def stop(self) -> None:
        self._process.kill()
        self._process.join()


def _serve(there: Any, back: Any) -> None:
    import torch

    torch.set_num_threads(1)
    kept = None
    while True:
        function, tensor = there.get()
        answer = torch.from_numpy(contract.function_of(function)(tensor.numpy()))
        back.put(answer)
        kept = answer  # until the next call: its memory is the worker's, which must not be gone before it is mapped
        del kept
