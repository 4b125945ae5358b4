"""gRPC over a Unix socket: a unary call whose messages are the arrays' bytes, without protobuf in between."""

from __future__ import annotations

import multiprocessing
from typing import Any

import numpy as np

from benchmarks.peers import contract
from benchmarks.peers.contract import Array

_NO_LIMITS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
_PATIENCE = 30.0  # seconds for the server to start


class Peer(contract.Peer):
    def start(self) -> None:
        import grpc

        address = f"unix:{contract.own_folder() / 'socket'}"
        self._process = multiprocessing.get_context("spawn").Process(target=_serve, args=(address,), daemon=True)
        self._process.start()
        self._channel: Any = grpc.insecure_channel(address, options=_NO_LIMITS)
        grpc.channel_ready_future(self._channel).result(_PATIENCE)
        self._methods = {name: self._channel.unary_unary(f"/bench/{name}") for name in ("first", "plus_one", "hold")}

    def call(self, function: str, array: Array) -> Array:
        return np.frombuffer(self._methods[function](array.tobytes()), np.float32)

    def stop(self) -> None:
        self._channel.close()
        self._process.kill()
        self._process.join()


def _serve(address: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    import grpc

    def handler(name: str) -> Any:
        function = contract.function_of(name)
        return grpc.unary_unary_rpc_method_handler(
            lambda request, _: function(np.frombuffer(request, np.float32)).tobytes()
        )

    server: Any = grpc.server(ThreadPoolExecutor(1), options=_NO_LIMITS)
    handlers = {name: handler(name) for name in ("first", "plus_one", "hold")}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("bench", handlers)])
    server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()
