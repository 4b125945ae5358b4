"""Ways of calling, as data. Each makes the same calls and puts into a ledger what becomes of every one of them."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from waits import GUARD

import isopod

LEFT = "left"  # what becomes of those that a map did not come to


class Call(NamedTuple):
    name: str
    inputs: Mapping[str, Any]
    timeout: float | None


class Ledger:
    """Each call is settled once: what a caller heard of it, whenever and in whatever thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heard: defaultdict[str, list[object]] = defaultdict(list)

    def settle(self, name: str, outcome: object) -> None:
        with self._lock:
            self._heard[name].append(outcome)

    def make(self, name: str, call: Callable[[], object]) -> None:
        try:
            outcome = call()
        except isopod.IsopodError as error:
            outcome = error
        self.settle(name, outcome)

    def outcomes(self, names: Sequence[str]) -> dict[str, Any]:
        """What became of each, once it is sure that nothing more comes."""
        with self._lock:
            heard = {name: list(told) for name, told in self._heard.items()}
        assert sorted(heard) == sorted(names)
        assert all(len(told) == 1 for told in heard.values()), heard
        return {name: told[0] for name, told in heard.items()}


def sync(model: isopod.Model, calls: Sequence[Call], ledger: Ledger) -> None:
    for name, inputs, timeout in calls:
        ledger.make(name, lambda inputs=inputs, timeout=timeout: model(inputs, timeout=timeout))  # type: ignore[misc]


def future(model: isopod.Model, calls: Sequence[Call], ledger: Ledger) -> None:
    told = threading.Semaphore(0)
    sent = 0
    for name, inputs, timeout in calls:

        def settled(done: Future[Any], name: str = name) -> None:
            error = done.exception()
            ledger.settle(name, done.result() if error is None else error)
            told.release()

        try:
            model.submit(inputs, timeout=timeout).add_done_callback(settled)
            sent += 1
        except isopod.IsopodError as error:
            ledger.settle(name, error)
    for _ in range(sent):
        assert told.acquire(timeout=GUARD), "a future is never done"


def task(model: isopod.Model, calls: Sequence[Call], ledger: Ledger) -> None:
    async def one(call: Call) -> None:
        try:
            outcome: object = await model.acall(call.inputs, timeout=call.timeout)
        except isopod.IsopodError as error:
            outcome = error
        ledger.settle(call.name, outcome)

    async def gather() -> None:
        await asyncio.wait_for(asyncio.gather(*map(one, calls)), GUARD)

    asyncio.run(gather())


def mapped(model: isopod.Model, calls: Sequence[Call], ledger: Ledger) -> None:
    """All have one deadline, so the last is given to all; and the call that ends it all comes second."""
    ordered = [*calls[1:2], *calls[:1], *calls[2:]]
    timeout = min((call.timeout for call in calls if call.timeout is not None), default=None)
    answers = model.map((call.inputs for call in ordered), timeout=timeout)
    waiting = [call.name for call in ordered]
    try:
        for answer in answers:
            ledger.settle(waiting.pop(0), answer)
    except isopod.IsopodError as error:
        ledger.settle(waiting.pop(0), error)
    assert list(answers) == []
    for name in waiting:
        ledger.settle(name, LEFT)


def threads(model: isopod.Model, calls: Sequence[Call], ledger: Ledger) -> None:
    workers = [threading.Thread(target=sync, args=(model, [call], ledger)) for call in calls]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(GUARD)
    assert not any(worker.is_alive() for worker in workers), "a call never ends"


Caller = Callable[[isopod.Model, Sequence[Call], Ledger], None]
CALLERS: dict[str, Caller] = {"sync": sync, "future": future, "task": task, "map": mapped, "threads": threads}
