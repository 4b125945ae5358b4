"""Pools of processes with one worker: of ``concurrent.futures``, of loky (which joblib uses), and of Pebble."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from benchmarks.peers import contract
from benchmarks.peers.contract import Array


class Peer(contract.Peer):
    def __init__(self, library: str) -> None:
        self._library = library

    def start(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        if self._library == "loky":
            import loky

            pool: Any = loky.ProcessPoolExecutor(1)
            self._submit = pool.submit
        elif self._library == "pebble":
            import pebble

            pool = pebble.ProcessPool(max_workers=1, context=spawn)
            self._submit = pool.submit
        else:
            pool = ProcessPoolExecutor(1, mp_context=spawn)
            self._submit = pool.submit
        self._pool = pool

    def call(self, function: str, array: Array) -> Array:
        arguments = (contract.function_of(function), array)
        return (
            self._submit(arguments[0], None, array) if self._library == "pebble" else self._submit(*arguments)
        ).result()

    def stop(self) -> None:
        if self._library == "pebble":
            self._pool.close()
            self._pool.join()
        else:
            self._pool.shutdown()
