"""Shared memory by hand, as one writes it when Pipe is too slow: ``multiprocessing.shared_memory`` and a bell.

``bell`` is a Pipe of one byte, or two semaphores. ``placed``: the array is in shared memory from the beginning, and the
answer is used where it lies; otherwise one is copied in and the other out. A worker's blocks are of one size: a call
with another size starts another worker.
"""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np

from benchmarks.peers import contract
from benchmarks.peers.contract import Array

_CONTEXT = multiprocessing.get_context("spawn")
_FUNCTIONS = ("first", "plus_one", "hold")  # a call says which by its place, in the first bytes of the block
_HEAD = 64  # bytes


class Peer(contract.Peer):
    def __init__(self, bell: str, placed: bool) -> None:
        self._bell, self._placed = bell, placed
        self._size = 0
        self._blocks: list[SharedMemory] = []

    def start(self) -> None:
        """The first call starts the worker: it says how large the blocks are."""

    def call(self, function: str, array: Array) -> Array:
        call = self.prepare(function, array)
        return call()

    def prepare(self, function: str, array: Array) -> Callable[[], Array]:
        if self._size != array.size:
            self._start(array.size)
        head, there, back = self._arrays
        head[0] = _FUNCTIONS.index(function)
        there[:] = array
        answer = back[:1] if function == "first" else back
        ring, wait, placed = self._ring, self._wait, self._placed

        def call() -> Array:
            if not placed:
                np.copyto(there, array)
            ring()
            wait()
            return answer if placed else answer.copy()

        return call

    def _start(self, size: int) -> None:
        self.stop()
        self._blocks = [SharedMemory(create=True, size=_HEAD + 4 * size) for _ in range(2)]
        self._arrays = _arrays(self._blocks, size)
        self._connection, theirs = _CONTEXT.Pipe()
        self._semaphores = there, back = _CONTEXT.Semaphore(0), _CONTEXT.Semaphore(0)
        ours = self._connection
        self._ring: Callable[[], Any] = there.release if self._bell == "semaphores" else lambda: ours.send_bytes(b"x")
        self._wait: Callable[[], Any] = back.acquire if self._bell == "semaphores" else ours.recv_bytes
        names = [block.name for block in self._blocks]
        arguments = (names, size, self._placed, self._bell, theirs, there, back)
        self._process = _CONTEXT.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()  # else nobody hears that the worker died
        self._size = size

    def stop(self) -> None:
        if not self._size:
            return
        self._size = 0
        self._process.kill()
        self._process.join()
        self._connection.close()
        del self._arrays
        while self._blocks:
            block = self._blocks.pop()
            block.unlink()
            with contextlib.suppress(BufferError):  # an answer of the last call is still there; the end unmaps it
                block.close()


def _arrays(blocks: list[SharedMemory], size: int) -> tuple[Array, Array, Array]:
    """Which function, the input, the output."""
    return (
        np.ndarray(1, np.int64, blocks[0].buf),
        np.ndarray(size, np.float32, blocks[0].buf, _HEAD),
        np.ndarray(size, np.float32, blocks[1].buf, _HEAD),
    )


def _serve(names: list[str], size: int, placed: bool, bell: str, connection: Any, there: Any, back: Any) -> None:
    blocks = [SharedMemory(name) for name in names]
    head, x, answer = _arrays(blocks, size)
    functions = [contract.function_of(name) for name in _FUNCTIONS]
    wait: Callable[[], Any] = there.acquire if bell == "semaphores" else connection.recv_bytes
    ring: Callable[[], Any] = back.release if bell == "semaphores" else lambda: connection.send_bytes(b"x")
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            wait()
            number = int(head[0])
            if placed and _FUNCTIONS[number] == "plus_one":
                np.add(x, 1, out=answer)
            else:
                result = functions[number](x)
                answer[: len(result)] = result
            ring()
