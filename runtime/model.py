"""``Model``: what ``load`` returns, and all that most users ever see of us.

A call is a dict of arrays in and a dict of arrays out, whichever way it is waited for. The worker behind it is replaced
when it has died; arrays that ``empty`` made stay valid through that.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from isopod.ipc.errors import ArenaFull, SpecError
from isopod.runtime.calls import Call, deadline_after
from isopod.runtime.outputs import Outputs
from isopod.runtime.session import Gone, Session
from isopod.runtime.stats import Stats, latency
from isopod.runtime.worker import Worker

_ARENA_WAIT = 5.0  # seconds to wait for memory when the call has no deadline


@dataclass(frozen=True)
class Input:
    """One input of a model's interface. ``required`` is False where the model has a default for it."""

    name: str
    required: bool = True


@dataclass(frozen=True)
class Output:
    """One output of a model's interface."""

    name: str


@dataclass(frozen=True)
class Health:
    """The truth about a model's worker at the moment of asking. ``uptime`` in seconds; ``last_crash`` a
    ``CrashReport``.
    """

    state: str
    pid: int | None
    uptime: float
    restarts: int
    last_crash: Any = None

    @property
    def ready(self) -> bool:
        return self.state == "ready"


class _Request(NamedTuple):
    """What a caller asked for: where it is sent may change if a worker dies."""

    inputs: Mapping[str, Any]
    timeout: float | None
    deadline_ns: int

    @property
    def room_by(self) -> int:
        """Until when to wait for shared memory, as ``time.monotonic_ns()``."""
        return self.deadline_ns or deadline_after(_ARENA_WAIT)

    def call(self, deliver: Any, *, threaded: bool) -> Call:
        return Call(self.deadline_ns, self.timeout, deliver, threaded)


class Model:
    """A model in a process of its own, called like a local function. Safe for many threads and tasks.

    ::

        with isopod.load("detector.py:Detector") as detector:
            boxes = detector(image=pixels)["boxes"]
    """

    def __init__(self, worker: Worker, timeout: float | None) -> None:
        self._worker = worker
        self._timeout = timeout
        self._finalizer = weakref.finalize(self, worker.abandon)
        self._finalizer.atexit = False

    # ------------------------------------------------------------------ calling

    def __call__(
        self, inputs: Mapping[str, Any] | None = None, /, *, timeout: float | None = None, **named: Any
    ) -> Outputs:
        """Call the model and wait: ``model(image=x)`` or ``model({"image": x})``.

        ``timeout`` in seconds, counted from now; when it passes in mid-call the worker is ended. An input that is
        itself called ``timeout`` goes into the dict. Raises ``ModelError`` (the model raised), ``WorkerCrashed``,
        ``WorkerTimeout``, ``SpecError``, ``ArenaFull``, ``Closed``.
        """
        return _result(_waited(*self._begin(self._request(inputs, named, timeout))))

    def submit(
        self, inputs: Mapping[str, Any] | None = None, /, *, timeout: float | None = None, **named: Any
    ) -> Future[Outputs]:
        """Start a call and return at once. Inputs are copied in before this returns; errors arrive in the future."""
        future: Future[Outputs] = Future()
        future.set_running_or_notify_cancel()

        def deliver(call: Call) -> None:
            error, call.error = call.error, None
            if error is None:
                future.set_result(_result(call))
            else:  # not raised here: its traceback would hold this frame, and so the future that holds it
                future.set_exception(error)

        self._begin(self._request(inputs, named, timeout), deliver)
        return future

    async def acall(
        self, inputs: Mapping[str, Any] | None = None, /, *, timeout: float | None = None, **named: Any
    ) -> Outputs:
        """Call the model from a task, without blocking the loop.

        Copying in and sending happen right here; a thread is used only where a worker must be started or memory is
        short. Cancelling the task drops the answer.
        """
        loop = asyncio.get_running_loop()
        request = self._request(inputs, named, timeout)
        future: asyncio.Future[None] = loop.create_future()

        def settled() -> None:
            if not future.done():
                future.set_result(None)

        def deliver(_: Call) -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed with the call in flight
                loop.call_soon_threadsafe(settled)

        while True:
            session = self._worker.running()
            if session is None:
                session = await loop.run_in_executor(None, self._worker.live, request.deadline_ns)
            self._worker.check_inputs(request.inputs)
            call = request.call(deliver, threaded=False)
            try:
                try:
                    session.begin(call, request.inputs.items(), 0)
                except ArenaFull:
                    await loop.run_in_executor(None, session.begin, call, request.inputs.items(), request.room_by)
            except Gone:
                continue
            break
        try:
            await future
        except asyncio.CancelledError:
            session.flight.abandon(call)
            raise
        del session  # an exception's traceback keeps this frame, and must not keep the worker's memory
        return _result(call)

    def map(
        self, batches: Iterable[Mapping[str, Any]], *, timeout: float | None = None, ahead: int = 2
    ) -> Iterator[Outputs]:
        """Call the model for each batch, in order; the next ``ahead`` are copied in while one is computed.

        ``timeout`` in seconds is each call's own. The first error ends it.
        """
        if ahead < 1:
            raise SpecError(f"map works at least one batch ahead, not {ahead}")
        flying: deque[tuple[Call, Session]] = deque()
        source = iter(batches)
        failure: Exception | None = None
        try:
            while failure is None:
                try:
                    flying.append(self._begin(self._request(next(source), {}, timeout)))
                except StopIteration:
                    break
                except Exception as error:  # raised below, in its turn: after the answers to what came before it
                    failure = error
                if len(flying) > ahead:
                    yield _result(_waited(*flying.popleft()))
            while flying:
                yield _result(_waited(*flying.popleft()))
            if failure is not None:
                raise failure
        finally:
            for call, session in flying:
                session.flight.abandon(call)

    def empty(self, name: str, shape: int | tuple[int, ...], dtype: Any = np.float32) -> np.ndarray[Any, Any]:
        """An uninitialised array for the input ``name`` that already lies in shared memory: sending it copies nothing.

        It may be used for any number of calls, and is freed with its last view. Raises ``ArenaFull``, ``SpecError``.
        """
        self._worker.check_open()
        self._worker.check_input(name)
        array: np.ndarray[Any, Any] = self._worker.owner.empty(shape, dtype, name, deadline_after(_ARENA_WAIT))
        return array

    def _request(self, inputs: Mapping[str, Any] | None, named: dict[str, Any], timeout: float | None) -> _Request:
        if inputs is None:
            inputs = named
        elif named:
            raise SpecError("give the inputs as a mapping or by keyword, not both")
        elif not isinstance(inputs, Mapping):
            raise SpecError(f"inputs are given by name, as model(name=array), not as a {type(inputs).__name__}")
        timeout = self._timeout if timeout is None else timeout
        return _Request(inputs, timeout, deadline_after(timeout))

    def _begin(self, request: _Request, deliver: Any = None) -> tuple[Call, Session]:
        """Send it; waits for a worker and for room if need be. With ``deliver``, nobody waits for the answer."""
        while True:
            session = self._worker.live(request.deadline_ns)
            self._worker.check_inputs(request.inputs)
            call = request.call(deliver, threaded=True)
            try:
                session.begin(call, request.inputs.items(), request.room_by)
            except Gone:
                continue  # it died before this call reached it: the next worker takes it
            return call, session

    # ------------------------------------------------------------------ asking

    @property
    def name(self) -> str:
        return self._worker.name

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What the model takes, in its own order."""
        return tuple(Input(item["name"], item["required"]) for item in self._worker.interface["inputs"])

    @property
    def outputs(self) -> tuple[Output, ...]:
        """What the model returns: as declared, or else as first seen; empty before the first answer."""
        return tuple(Output(name) for name in self._worker.output_names())

    @property
    def health(self) -> Health:
        """Derived from the worker's state when asked, never cached."""
        return Health(**self._worker.health())

    def stats(self) -> Stats:
        """Counters and latencies since the model was loaded."""
        self._worker.check_process()
        counters, arena = self._worker.counters, self._worker.owner.arena
        times = counters.times.copy()
        start = self._worker.start
        return Stats(
            calls=counters.calls,
            errors=counters.errors,
            crashes=counters.crashes,
            restarts=counters.restarts,
            latency=latency(waited for waited, _ in times),
            compute=latency(computed for _, computed in times),
            bytes_copied_in=counters.copied_in,
            bytes_copied_out=counters.copied_out,
            rss_bytes=self._worker.rss(),
            shared_bytes=arena.reserved,
            shared_bytes_used=arena.used,
            start_seconds=start.get("total", 0.0),
            start=start,
        )

    # ------------------------------------------------------------------ closing

    def close(self, timeout: float = 5.0) -> None:
        """Let running calls finish for at most ``timeout`` seconds, end the worker, and give everything back."""
        self._finalizer.detach()
        self._worker.close(timeout)

    def let_go_after_fork(self) -> None:
        """In a forked copy of the application: the worker, and what it lent, are the original's."""
        self._finalizer.detach()
        self._worker.let_go_after_fork()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Model {self.name!r} {self.health.state}>"


def _waited(call: Call, session: Session) -> Call:
    session.flight.wait(call)
    return call


def _result(call: Call) -> Outputs:
    """The call's outputs, or its error, which is raised once and outside of any frame that holds the session."""
    error, call.error = call.error, None
    if error is not None:
        try:
            raise error
        finally:
            del error  # its traceback holds this frame: a cycle would keep the call, its session and their memory
    outputs, call.outputs = Outputs(call.outputs), None  # the caller alone keeps them alive from here on
    return outputs
