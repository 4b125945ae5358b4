"""vLLM's message queue, by which its engine speaks to its workers: one in each direction, pickles in a shared ring."""

from __future__ import annotations

import multiprocessing
from typing import Any

from benchmarks.peers import contract
from benchmarks.peers.contract import Array

_CHUNK = (1 << 24) + (1 << 16)  # bytes: what is larger than a chunk goes through a socket
_CHUNKS = 4


class Peer(contract.Peer):
    def start(self) -> None:
        queue = _queue()
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._there: Any = queue(1, 1, max_chunk_bytes=_CHUNK, max_chunks=_CHUNKS)
        self._process = context.Process(target=_serve, args=(self._there.export_handle(), theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._back: Any = queue.create_from_handle(ours.recv(), 0)
        self._there.wait_until_ready()
        self._back.wait_until_ready()

    def call(self, function: str, array: Array) -> Array:
        self._there.enqueue((function, array))
        return self._back.dequeue(indefinite=True)

    def stop(self) -> None:
        self._process.kill()
        self._process.join()


def _queue() -> Any:
    from vllm.distributed.device_communicators.shm_broadcast import MessageQueue

    return MessageQueue


def _serve(handle: Any, pipe: Any) -> None:
    queue = _queue()
    there, back = queue.create_from_handle(handle, 0), queue(1, 1, max_chunk_bytes=_CHUNK, max_chunks=_CHUNKS)
    pipe.send(back.export_handle())
    there.wait_until_ready()
    back.wait_until_ready()
    while True:
        function, array = there.dequeue(indefinite=True)
        back.enqueue(contract.function_of(function)(array))
