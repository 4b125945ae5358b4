"""iceoryx2: request and response in its shared memory, without copies.

A request's memory is lent anew for each call. The array is written to it only where it does not lie there already, from
an earlier call: so what is measured is the call, as with any array that was made in shared memory. ``events``: each
side sleeps until it is notified; otherwise both poll, and the worker pauses after some milliseconds without a request.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers import contract
from benchmarks.peers.contract import Array

_FUNCTIONS = ("first", "plus_one", "hold")  # a request says which by its place, in the first bytes
_HEAD = 8  # bytes
_LARGEST = (1 << 24) + _HEAD
_BUSY, _PAUSE = 0.005, 0.001  # seconds: how long the worker polls in vain, and how long it sleeps between polls then


class Peer(contract.Peer):
    def __init__(self, events: bool) -> None:
        self._events = events

    def start(self) -> None:
        name = f"isopod-bench-{os.getpid()}"
        context = multiprocessing.get_context("spawn")
        ready = context.Event()
        arguments = (name, self._events, ready)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        service = _Service(name)
        self._client: Any = service.calls.client_builder().initial_max_slice_len(_LARGEST).create()
        self._wait: Callable[[], Any] = os.sched_yield
        self._ring: Callable[[], Any] = _nothing
        if self._events:
            self._wait, self._ring = service.bell("response", "request")
        self._service = service
        self._placed: dict[int, tuple[int, int]] = {}  # address of a request → the array that it holds, its size
        self._arrays: list[Array] = []
        ready.wait()

    def call(self, function: str, array: Array) -> Array:
        return self.prepare(function, array)()

    def prepare(self, function: str, array: Array) -> Callable[[], Array]:
        self._arrays = [array]
        self._placed.clear()
        number, nbytes = _FUNCTIONS.index(function), array.nbytes

        def call() -> Array:
            request = self._client.loan_slice_uninit(_HEAD + nbytes)
            address = request.payload_ptr
            if address not in self._placed:
                head, x = _arrays(address, nbytes, request)
                head[0] = number
                x[:] = array
                self._placed[address] = (number, nbytes)
            pending = request.assume_init().send()
            self._ring()
            response = pending.receive()
            while response is None:
                self._wait()
                response = pending.receive()
            return _arrays(response.payload_ptr, 4 if function == "first" else nbytes, response)[1]

        return call

    def stop(self) -> None:
        self._process.kill()
        self._process.join()


class _Service:
    """What both sides open by its name."""

    def __init__(self, name: str) -> None:
        import iceoryx2

        self._library: Any = iceoryx2
        iceoryx2.set_log_level(iceoryx2.LogLevel.Error)
        self._node: Any = iceoryx2.NodeBuilder.new().create(iceoryx2.ServiceType.Ipc)
        self._name = name
        slices = iceoryx2.Slice[ctypes.c_uint8]
        builder = self._node.service_builder(iceoryx2.ServiceName.new(name))
        self.calls: Any = builder.request_response(slices, slices).open_or_create()

    def bell(self, heard: str, rung: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
        """How to wait, and how to have the other side stop waiting."""
        listener = self._event(heard).listener_builder().create()
        notifier = self._event(rung).notifier_builder().create()
        return listener.blocking_wait, notifier.notify

    def _event(self, name: str) -> Any:
        return (
            self._node.service_builder(self._library.ServiceName.new(f"{self._name}/{name}")).event().open_or_create()
        )


def _nothing() -> None:
    """Who is polled needs no bell."""


def _arrays(address: int, nbytes: int, owner: Any) -> tuple[Array, Array]:
    """Which function, and the array; ``owner`` keeps the memory for as long as they are there."""
    memory: Any = (ctypes.c_uint8 * (_HEAD + nbytes)).from_address(address)
    memory.owner = owner  # ctypes' objects have room for it
    return np.ndarray(1, np.int64, memory), np.ndarray(nbytes // 4, np.float32, memory, _HEAD)


def _serve(name: str, events: bool, ready: Any) -> None:
    service = _Service(name)
    server = service.calls.server_builder().initial_max_slice_len(_LARGEST).create()
    patience = _Patience()
    wait, ring = service.bell("request", "response") if events else (patience.wait, patience.served)
    functions = [contract.function_of(function) for function in _FUNCTIONS]
    ready.set()
    while True:
        request = server.receive()
        if request is None:
            wait()
            continue
        nbytes = len(request.payload().as_memory_view()) - _HEAD
        head, x = _arrays(request.payload_ptr, nbytes, request)
        number = int(head[0])
        answered = 4 if number == 0 else nbytes
        response = request.loan_slice_uninit(_HEAD + answered)
        answer = _arrays(response.payload_ptr, answered, None)[1]
        if _FUNCTIONS[number] == "plus_one":
            np.add(x, 1, out=answer)
        else:
            answer[:] = functions[number](x)
        response.assume_init().send()
        ring()
        del request, head, x


class _Patience:
    """Polls for a while, then slowly: it would take a core from the others for as long as they have their turns."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def wait(self) -> None:
        if time.monotonic() - self._since > _BUSY:
            time.sleep(_PAUSE)
        else:
            os.sched_yield()

    def served(self) -> None:
        self._since = time.monotonic()
