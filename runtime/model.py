"""``Model``: what ``load`` returns, and all that most users ever see of us.

A call is a dict of arrays in and a dict of arrays out, whichever way it is waited for. The workers behind it are
replaced when they have died; arrays that ``empty`` made stay valid through that.
"""

from __future__ import annotations

import asyncio
import functools
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Any

import numpy as np

from isopod.ipc.errors import ArenaFull, SpecError
from isopod.ipc.spec import TensorSpec
from isopod.runtime.batching import Batch, tasks
from isopod.runtime.batching.batcher import Batcher
from isopod.runtime.calls import FOREVER, Call, check_seconds
from isopod.runtime.deployment import Deployment
from isopod.runtime.environment import Env
from isopod.runtime.futures import CallFuture
from isopod.runtime.health import Health
from isopod.runtime.loops import teller
from isopod.runtime.outputs import Outputs
from isopod.runtime.request import ARENA_WAIT_NS, Request
from isopod.runtime.sandbox.report import SandboxReport
from isopod.runtime.second_chances import SecondChances, resend
from isopod.runtime.session import Gone
from isopod.runtime.source import Source
from isopod.runtime.stats import Stats
from isopod.runtime.underway import Underway


class Model:
    """A model in a process of its own, called like a local function. Safe for many threads and tasks.

    ::

        with isopod.load("detector.py:Detector") as detector:
            boxes = detector(image=pixels)["boxes"]
    """

    def __init__(
        self, deployment: Deployment, source: Source, timeout: float | None, batch: Batch | None = None
    ) -> None:
        self._deployment = deployment
        self._source = source
        self._timeout = timeout
        self._reloading = threading.Lock()
        self._finalizer = weakref.finalize(self, deployment.abandon)
        self._finalizer.atexit = False
        self._second_chances = SecondChances(deployment)
        self._batcher = None if batch is None else Batcher(batch, deployment, self._second_chances)
        self._direct = batch is None and not deployment.admission.limited

    # ------------------------------------------------------------------ calling

    def __call__(
        self, inputs: Mapping[str, Any] | None = None, /, *, timeout: float | None = None, **named: Any
    ) -> Outputs:
        """Call the model and wait: ``model(image=x)`` or ``model({"image": x})``.

        ``timeout`` in seconds, more than 0, counted from now; when it passes in mid-call the worker is ended, unless
        the model looks at ``isopod.worker.cancelled`` and stops by itself. An input that is itself called ``timeout``
        goes into the dict. Raises ``ModelError`` (the model raised), ``WorkerCrashed``, ``WorkerTimeout``,
        ``WorkerUnavailable``, ``SpecError``, ``ArenaFull``, ``Overloaded``, ``Closed``. Ctrl-C takes the call back if
        it has not begun, and tells the model.
        """
        request = self._request(inputs, named, timeout)
        if self._direct:
            return _result(self._alone(request))
        with self._deployment.admission.ticket():
            call = self._alone(request) if self._batcher is None else self._batcher.answer(request, self._alone)
        return _result(call)

    def submit(
        self, inputs: Mapping[str, Any] | None = None, /, *, timeout: float | None = None, **named: Any
    ) -> Future[Outputs]:
        """Start a call and return at once: also where its worker is just being replaced.

        Inputs are copied in before this returns, so they may be changed then. What is wrong with them is raised here
        (``SpecError``, ``ArenaFull``, ``Overloaded``, ``Closed``); everything else arrives in the future.

        ``future.cancel()`` is True for a call that no worker has begun: then it never runs. One that runs goes on, and
        its model sees it by ``isopod.worker.cancelled``. ``future.running()`` is the truth.
        """
        ticket = self._deployment.admission.ticket()
        future = CallFuture(ticket.leave)

        def deliver(call: Call) -> None:
            again = call.next_attempt(self._deployment.staffing.retries)
            if again is None:
                future.settle(call)
            else:
                self._second_chances.give(again, future.follow)

        request, batcher = self._request(inputs, named, timeout), self._batcher
        try:
            ticket.enter()
            if batcher is None:
                call = request.call(Call, self._deployment.interface, deliver, threaded=True)
                self._second_chances.begin(call, call.inputs.items(), request.room_by, future.follow)
            else:
                batcher.join(
                    request,
                    future.settle,
                    threaded=True,
                    room_by_ns=request.room_by,
                    seen=lambda call: future.follow(call, batcher),
                )
            return future
        except BaseException:  # goes on to the caller: of Ctrl-C, too, who has no future to cancel
            future.cancel()
            ticket.leave()
            raise

    async def acall(
        self, inputs: Mapping[str, Any] | None = None, /, *, timeout: float | None = None, **named: Any
    ) -> Outputs:
        """Call the model from a task, without blocking the loop.

        Copying in and sending happen right here; a thread is used only where a worker must be started or memory is
        short. Cancelling the task takes the call back if it has not begun; else its answer is dropped, and its model
        sees it by ``isopod.worker.cancelled``. The worker goes on.
        """
        loop = asyncio.get_running_loop()
        request = self._request(inputs, named, timeout)
        if self._batcher is not None:
            with self._deployment.admission.ticket():
                return _result(await tasks.answered(self._batcher, request, loop))
        future: asyncio.Future[None] = loop.create_future()
        tell = teller(loop)

        def deliver(_: Call) -> None:
            tell(future)

        again: Call | None = None
        with self._deployment.admission.ticket():
            while True:
                try:
                    session = self._deployment.running()
                    if session is None:
                        session = await loop.run_in_executor(None, self._deployment.live, request.deadline_ns)
                    if again is None:
                        call = request.call(Call, self._deployment.interface, deliver, threaded=False)
                        send = functools.partial(session.begin, call, call.inputs.items())
                    else:
                        call, send = again, functools.partial(session.resend, again)
                except BaseException:  # goes on to the task, whose traceback keeps the call, and not its memory
                    if again is not None:
                        again.release()
                    raise
                try:
                    await self._sent(loop, send, request.room_by)
                    await future
                except Gone:
                    continue
                except BaseException:  # goes on to the task: it was cancelled, or its loop ends
                    session.flight.abandon(call)
                    raise
                del session, send  # an exception's traceback keeps this frame, and must not keep the worker's memory
                again = call.next_attempt(self._deployment.staffing.retries)
                if again is None:
                    break
                future = loop.create_future()
        return _result(call)

    @staticmethod
    async def _sent(loop: asyncio.AbstractEventLoop, send: Callable[[int], None], room_by_ns: int) -> None:
        """Send a call from the loop, or in a thread where that must wait for memory."""
        try:
            send(0)
        except ArenaFull:
            await loop.run_in_executor(None, send, room_by_ns)

    def map(
        self, batches: Iterable[Mapping[str, Any]], *, timeout: float | None = None, ahead: int = 2
    ) -> Iterator[Outputs]:
        """Call the model for each batch, in order; the next ``ahead`` are copied in while one is computed.

        ``timeout`` in seconds is each call's own. The first error ends it, and so does leaving it early: calls that
        have not begun are taken back.
        """
        if ahead < 1:
            raise SpecError(f"map works at least one batch ahead, not {ahead}")
        flying: deque[Underway] = deque()
        source, admission = iter(batches), self._deployment.admission
        failure: Exception | None = None
        try:
            while failure is None:
                try:
                    request = self._request(next(source), {}, timeout)
                    flying.append(Underway(admission.ticket()))
                    try:
                        self._begin(request, flying[-1])
                    except Exception:  # raised in its turn
                        flying[-1].drop()
                        flying.pop()
                        raise
                except StopIteration:
                    break
                except Exception as error:  # raised below, in its turn: after the answers to what came before it
                    failure = error
                if len(flying) > ahead:
                    yield _result(self._first_of(flying))
            while flying:
                yield _result(self._first_of(flying))
            if failure is not None:
                raise failure
        finally:
            for one in reversed(flying):  # or the worker would begin the next when it stops the first
                one.drop()

    def empty(self, name: str, shape: int | tuple[int, ...], dtype: Any = np.float32) -> np.ndarray[Any, Any]:
        """An uninitialised array for the input ``name`` that already lies in shared memory: sending it copies nothing.

        It may be used for any number of calls, and is freed with its last view. Raises ``ArenaFull``, ``SpecError``.
        """
        self._deployment.check_open()
        self._deployment.interface.check_name(name)
        array: np.ndarray[Any, Any] = self._deployment.owner.empty(shape, dtype, name, -ARENA_WAIT_NS)
        return array

    def _request(self, inputs: Mapping[str, Any] | None, named: dict[str, Any], timeout: float | None) -> Request:
        self._deployment.check_process()
        return Request.of(inputs, named, timeout, self._timeout)

    def _begin(self, request: Request, one: Underway) -> None:
        """Send it, or have it sent with others; waits for a worker and for room if need be."""
        if one.ticket is not None:
            one.ticket.enter()
            if self._batcher is not None:
                batcher = self._batcher

                def seen(member: Call) -> None:
                    one.at = (member, batcher)

                batcher.join(request, None, threaded=False, room_by_ns=request.room_by, seen=seen)
                return
        deployment = self._deployment
        while True:
            session = deployment.running() or deployment.live(request.deadline_ns)
            call = request.call(Call, deployment.interface, None, threaded=True)
            one.follow(call, session)
            try:
                session.begin(call, call.inputs.items(), call.deadline_ns or -ARENA_WAIT_NS)
            except Gone:
                continue  # it died before this call reached it: the next worker takes it
            return

    def _alone(self, request: Request) -> Call:
        """The call with its outcome, of a caller who waits."""
        one = Underway()
        try:
            self._begin(request, one)
            return self._outcome(one)
        except BaseException:  # goes on to the caller
            one.drop()
            raise

    def _outcome(self, one: Underway) -> Call:
        """Wait for the answer, of another worker if need be; the call that has it."""
        while True:
            call, place = one.at  # type: ignore[misc]
            place.wait(call)
            again = None if call.error is None else call.next_attempt(self._deployment.staffing.retries)
            if again is None:
                return call
            resend(self._deployment, again, one.follow)

    def _first_of(self, flying: deque[Underway]) -> Call:
        """The same for the first of several; until it is there it stays among those that are abandoned if an interrupt
        comes."""
        call = self._outcome(flying[0])
        flying[0].ticket.leave()  # type: ignore[union-attr]
        flying.popleft()
        return call

    # ------------------------------------------------------------------ asking

    @property
    def name(self) -> str:
        return self._deployment.name

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What the model takes, in its own order."""
        return self._deployment.interface.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What the model returns: as it or its problem declares, or else as first seen; empty before that."""
        declared = self._deployment.interface.outputs
        return declared or tuple(map(TensorSpec, self._deployment.counters.output_names))

    @property
    def health(self) -> Health:
        """Derived from the workers' states when asked, never cached."""
        return self._deployment.health()

    def stats(self) -> Stats:
        """Counters and latencies since the model was loaded."""
        return self._deployment.stats()

    def sandbox_report(self) -> SandboxReport:
        """What was really enforced on the workers that live: for people by ``str()``, as data by its fields.

        Raises ``WorkerUnavailable`` where there is none just now, ``Closed``.
        """
        return self._deployment.sandbox_report()

    # ------------------------------------------------------------------ closing

    def reload(
        self,
        target: str | os.PathLike[str] | None = None,
        *,
        env: Env | str | os.PathLike[str] | None = None,
        args: Mapping[str, Any] | None = None,
        drain: float | None = None,
    ) -> None:
        """Replace the model by another version of it, without losing a call; returns once the new one serves.

        What is not given stays as it was (an environment that ``load`` was not given is the new file's own); without
        any of it the same files are loaded anew. The old workers answer what they were asked, for at most ``drain``
        seconds (None: as long as it takes). If the new version cannot be loaded, that is raised as ``load`` does, and
        the old one goes on.
        """
        if drain is not None:
            check_seconds(drain, f"model {self.name!r}: drain", zero=True)
        self._deployment.check_open()
        with self._reloading:  # RACE lost version: what is not given is as the reload before left it
            source = self._source.changed(target=target, env=env, args=args)
            blueprint = source.blueprint()
            try:
                self._deployment.start(blueprint, None if drain is None else min(drain, FOREVER))
            finally:
                if self._deployment.serves(blueprint):  # also where Ctrl-C came once it did
                    self._source = source

    def close(self, timeout: float = 5.0) -> None:
        """Let running calls finish for at most ``timeout`` seconds, end the worker, and give everything back."""
        if self._deployment.is_copy:
            return  # there is nothing of its own to close
        self._finalizer.detach()
        if self._batcher is not None:
            self._batcher.close()
        self._deployment.close(timeout)

    def let_go_after_fork(self) -> None:
        """In a forked copy of the application: the worker, and what it lent, are the original's."""
        self._finalizer.detach()
        self._deployment.let_go_after_fork()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Model {self.name!r} {self.health.state}>"


def _result(call: Call) -> Outputs:
    """The call's outputs, or its error, which is raised once and outside of any frame that holds the session."""
    error, call.error = call.error, None
    call.handed_over()
    if error is not None:
        try:
            raise error
        finally:
            del error  # its traceback holds this frame: a cycle would keep the call, its session and their memory
    outputs: Outputs = call.outputs
    call.outputs = None  # the caller alone keeps them alive from here on
    return outputs
