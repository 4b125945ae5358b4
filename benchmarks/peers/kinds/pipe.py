"""``multiprocessing.Pipe`` and pickle 5, which is what people write first.

``apart``: the array's bytes follow the pickle as a message of their own (PEP 574), which saves a copy on each side.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
from typing import Any

from benchmarks.peers import contract
from benchmarks.peers.contract import Array


class Peer(contract.Peer):
    def __init__(self, apart: bool = False) -> None:
        self._send, self._receive = (_send_apart, _receive_apart) if apart else (_send, _receive)
        self._apart = apart

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._apart), daemon=True)
        self._process.start()
        theirs.close()  # else nobody hears that the worker died

    def call(self, function: str, array: Array) -> Array:
        self._send(self._connection, (function, array))
        return self._receive(self._connection)

    def stop(self) -> None:
        self._connection.close()
        self._process.join()


def _serve(connection: Any, apart: bool) -> None:
    send, receive = (_send_apart, _receive_apart) if apart else (_send, _receive)
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            function, array = receive(connection)
            send(connection, contract.function_of(function)(array))


def _send(connection: Any, value: Any) -> None:
    connection.send_bytes(pickle.dumps(value, protocol=5))


def _receive(connection: Any) -> Any:
    return pickle.loads(connection.recv_bytes())


def _send_apart(connection: Any, value: Any) -> None:
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    connection.send_bytes(bytes([len(buffers)]) + data)
    for buffer in buffers:
        connection.send_bytes(buffer.raw())


def _receive_apart(connection: Any) -> Any:
    data = connection.recv_bytes()
    buffers = [connection.recv_bytes() for _ in range(data[0])]
    return pickle.loads(memoryview(data)[1:], buffers=buffers)
