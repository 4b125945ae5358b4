"""A Ray actor in a cluster of this machine alone; arrays above 100 KB cross in Ray's object store."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from benchmarks.peers import contract
from benchmarks.peers.contract import Array


class Peer(contract.Peer):
    def start(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        self._ray: Any = ray
        ray.init(
            num_cpus=1,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
            object_store_memory=512 << 20,
            _temp_dir=tempfile.mkdtemp(prefix="ray-"),
        )
        self._actor = ray.remote(_Worker).remote()

    def call(self, function: str, array: Array) -> Array:
        return self._ray.get(self._actor.call.remote(function, array))

    def stop(self) -> None:
        self._ray.shutdown()


class _Worker:
    def call(self, function: str, array: Array) -> Array:
        return contract.function_of(function)(array)
