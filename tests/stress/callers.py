"""Those who call: threads that wait, futures with their callbacks, ``map``, and tasks of an event loop, all at once.

Each caller opens a call in the ledger, makes it, checks what comes, and closes it. Some answers are kept for a while
and looked at again, so that memory which was given to two is found out; some are sent on to another model.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import isopod
from stress.content import Maker, Request
from stress.ledger import Ledger
from stress.subjects import Subject

_SHELF = 8  # answers that a caller keeps
_SHELF_BYTES = 256 << 10  # of the largest one
_WINDOW = 100  # futures in flight: more than there are slots
_TASKS = 16
EXECUTOR = "soak-executor"


class Caller:
    """One caller; ``run`` is the body of its thread. ``kind`` is what the ledger calls its calls."""

    kind = "call"

    def __init__(self, ledger: Ledger, subjects: Sequence[Subject], largest: int, seed: object) -> None:
        self.ledger = ledger
        self.subjects = subjects
        self.maker = Maker(largest, seed)
        self.sizes: Counter[int] = Counter()  # by bit length of the bytes
        self.nbytes = 0
        self._shelf: deque[tuple[Request, Any]] = deque()
        self._latest: tuple[Request, Any] | None = None  # an answer that may be sent on

    def run(self) -> None:
        try:
            while True:
                if not self.turn():
                    self.clear()
                    if not self.ledger.wait():
                        return
        except BaseException as error:  # goes into the ledger: a caller that dies is a fault of the soak or of isopod
            self.ledger.violate(f"a caller ({self.kind}) died of {type(error).__name__}: {error}")
            raise

    def turn(self) -> bool:
        """Make a call, or some; False when the ledger has none to give."""
        raise NotImplementedError

    def begin(self, subject: Subject) -> Request | None:
        """Open a call and say what it is; None where the ledger has none to give, or there is no room for its input."""
        while number := self.ledger.open(self.kind, subject.name):
            try:
                request = subject.request(self.maker, number)
            except Exception as error:  # goes into the ledger: ``empty`` may find the arena full or the model closed
                self.ledger.failed(number, error, subject.allowed)
                if isinstance(error, isopod.Closed):
                    return None
                continue
            self.sizes[request.nbytes.bit_length()] += 1
            self.nbytes += request.nbytes
            return request
        return None

    def choose(self) -> Subject:
        return self.maker.random.choice(self.subjects)

    def end(self, request: Request, result: Any) -> None:
        """Close a call with its answer, or with the error that it ended with."""
        if isinstance(result, BaseException):
            self.ledger.failed(request.number, result, request.allowed)
            return
        self.ledger.answered(request.number, self._problem(request, result), result.get("pid", 0))
        if request.nbytes <= _SHELF_BYTES:
            self._shelf.append((request, result))
            if len(self._shelf) > _SHELF:
                self._look_again(*self._shelf.popleft())
            self._latest = (request, result) if "y" in result and request.flat is not None else None

    def _problem(self, request: Request, outputs: Mapping[str, Any]) -> str:
        problem = request.problem(outputs)
        return f"{problem} ({request.way or 'plain'}, {request.layout}, {request.dtype})" if problem else ""

    def _look_again(self, request: Request, outputs: Mapping[str, Any]) -> None:
        problem = self._problem(request, outputs)
        if problem:
            self.ledger.violate(f"the answer to call {request.number} changed while it was kept: {problem}")

    def clear(self) -> None:
        """Keep nothing: the ledger rests, or it is over."""
        self._latest = None
        while self._shelf:
            self._look_again(*self._shelf.popleft())


class Waiting(Caller):
    """Calls and waits."""

    def turn(self) -> bool:
        subject = self.choose()
        if self._latest is not None and self.maker.random.random() < 0.05:
            return self._send_on(subject)
        request = self.begin(subject)
        if request is None:
            return False
        self.end(request, self._answer(subject, request))
        return True

    def _answer(self, subject: Subject, request: Request) -> Any:
        try:
            return subject.model(request.inputs, timeout=request.timeout)
        except Exception as error:  # goes into the ledger
            return error.with_traceback(None)

    def _send_on(self, subject: Subject) -> bool:
        assert self._latest is not None
        (earlier, outputs), self._latest = self._latest, None
        number = self.ledger.open(self.kind, subject.name)
        if not number:
            return False
        request = self.maker.again(number, earlier, outputs["y"])
        request.allowed = subject.allowed
        self.end(request, self._answer(subject, request))
        return True


class Promised(Caller):
    """Has many futures in flight, and counts their callbacks."""

    kind = "future"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._flying: deque[tuple[Request, Future[Any]]] = deque()
        self._expected: set[int] = set()
        self._called = threading.Condition()

    def turn(self) -> bool:
        window = self.maker.random.choice((1, 4, 20, _WINDOW))
        subject = self.choose()
        while len(self._flying) < window:
            request = self.begin(subject)
            if request is None:
                return False
            self._submit(subject, request)
        for _ in range(self.maker.random.randint(1, len(self._flying))):
            self._harvest()
        return True

    def _submit(self, subject: Subject, request: Request) -> None:
        try:
            future = subject.model.submit(request.inputs, timeout=request.timeout)
        except Exception as error:  # goes into the ledger
            self.end(request, error.with_traceback(None))
            return
        with self._called:
            self._expected.add(request.number)
        future.add_done_callback(functools.partial(self._call_back, request.number))
        self._flying.append((request, future))

    def _call_back(self, number: int, _: Future[Any]) -> None:
        with self._called:
            if number not in self._expected:
                self.ledger.violate(f"the callback of call {number} was called twice")
            self._expected.discard(number)
            self._called.notify_all()

    def _harvest(self) -> None:
        request, future = self._flying.popleft()
        error = future.exception()
        self.end(request, future.result() if error is None else error.with_traceback(None))

    def clear(self) -> None:
        while self._flying:
            self._harvest()
        with self._called:
            if not self._called.wait_for(lambda: not self._expected, 30.0):
                self.ledger.violate(f"{len(self._expected)} callbacks of futures were never called")
                self._expected.clear()
        super().clear()


class Mapped(Caller):
    """Goes through batches."""

    kind = "map"

    def turn(self) -> bool:
        subject, length = self.choose(), self.maker.random.randint(1, 30)
        begun: deque[Request] = deque()

        def batches() -> Iterator[dict[str, Any]]:
            for _ in range(length):
                request = self.begin(subject)
                if request is None:
                    return
                begun.append(request)
                yield request.inputs

        walks_away = self.maker.random.random() < 0.05
        timeout = self.maker.random.uniform(0.5, 5.0) if subject.under_fire else None
        answers = subject.model.map(batches(), timeout=timeout, ahead=self.maker.random.randint(1, 5))
        try:
            for outputs in answers:
                self.end(begun.popleft(), outputs)
                if walks_away and self.maker.random.random() < 0.3:
                    break
        except Exception as error:  # goes into the ledger: it is the first one's that has no answer yet
            request = begun.popleft()
            request.allowed = (*request.allowed, isopod.WorkerTimeout) if timeout else request.allowed
            self.end(request, error.with_traceback(None))
        finally:
            answers.close()  # type: ignore[attr-defined]
        made = bool(begun)
        while begun:
            self.ledger.dropped(begun.popleft().number, "map ended before")
        return made or (not self.ledger.resting and not self.ledger.over)


class Tasks(Caller):
    """An event loop with many tasks, some of which are cancelled."""

    kind = "task"

    def turn(self) -> bool:
        with ThreadPoolExecutor(_TASKS, EXECUTOR) as executor:
            asyncio.run(self._loop(executor))
        return False

    async def _loop(self, executor: ThreadPoolExecutor) -> None:
        asyncio.get_running_loop().set_default_executor(executor)
        await asyncio.gather(*(self._task() for _ in range(_TASKS)))

    async def _task(self) -> None:
        while True:
            subject = self.choose()
            request = self.begin(subject)
            if request is None:
                return
            patience = self.maker.random.uniform(0, 0.005) if self.maker.random.random() < 0.01 else None
            answer = subject.model.acall(request.inputs, timeout=request.timeout)
            try:
                result: Any = await asyncio.wait_for(answer, patience)
            except Exception as error:  # goes into the ledger
                result = error.with_traceback(None)
            if patience and type(result) is asyncio.TimeoutError:
                self.ledger.dropped(request.number, "cancelled")
            else:
                self.end(request, result)


KINDS: tuple[type[Caller], ...] = (Waiting, Waiting, Waiting, Promised, Mapped, Tasks)
