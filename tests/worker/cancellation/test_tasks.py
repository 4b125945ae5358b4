"""Tasks that are cancelled, Ctrl-C, and a ``map`` that is left early."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from waits import until
from worker.cancellation.sampling import busy, cancelled_when

import isopod


def test_a_cancelled_task_takes_its_call_back(model: isopod.Model, tmp_path: Path) -> None:
    calls = model()["calls"]

    async def cancel() -> None:
        tasks = [asyncio.create_task(model.acall(x=number)) for number in range(100)]
        await asyncio.sleep(0)
        for one in tasks:
            await cancelled_when(lambda: True, one)

    with busy(model, tmp_path):
        asyncio.run(cancel())
    assert model()["calls"] == calls + 2


def test_a_cancelled_task_tells_a_model_that_runs(model: isopod.Model, tmp_path: Path) -> None:
    async def cancel() -> None:
        begun = tmp_path / "begun"
        running = asyncio.create_task(model.acall(do="until_cancelled", begun=str(begun), x=np.zeros(1000)))
        await cancelled_when(begun.exists, running)
        assert (await model.acall(x=4))["x"] == 8

    asyncio.run(cancel())


def test_a_task_that_is_cancelled_with_its_answer_there_keeps_no_memory(model: isopod.Model) -> None:
    async def cancel() -> Any:
        counted = model._deployment.counters
        before = counted.calls
        late = asyncio.create_task(model.acall(x=np.zeros(100_000)))
        await asyncio.sleep(0)
        until(lambda: counted.calls > before)  # without letting the loop hear of it
        late.cancel()
        return await asyncio.gather(late, return_exceptions=True)

    (error,) = asyncio.run(cancel())
    assert isinstance(error, asyncio.CancelledError)
    until(lambda: model.stats().shared_bytes_used == 0)


def test_a_timeout_of_asyncio_is_one(model: isopod.Model, tmp_path: Path) -> None:
    async def late() -> None:
        if hasattr(asyncio, "timeout"):
            async with asyncio.timeout(0.05):
                await model.acall(do="until_cancelled", x=1)
        else:
            await asyncio.wait_for(model.acall(do="until_cancelled", x=1), 0.05)

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(late())


def interrupt_when(holds: Callable[[], bool]) -> threading.Thread:
    def interrupt() -> None:
        until(holds)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    return thread


def test_an_interrupt_tells_a_model_that_runs(model: isopod.Model, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    other = interrupt_when(begun.exists)
    with pytest.raises(KeyboardInterrupt):
        model(do="until_cancelled", begun=str(begun), x=np.zeros(1000))
    other.join()


@pytest.mark.parametrize(
    ("wait", "sent"),
    [
        (lambda model: model(x=1), 1),
        (lambda model: list(model.map([{"x": number} for number in range(100)], ahead=4)), 5),
    ],
    ids=["a call in line", "all of a map"],
)
def test_an_interrupt_takes_back_what_was_not_begun(
    model: isopod.Model, tmp_path: Path, wait: Callable[[isopod.Model], Any], sent: int
) -> None:
    calls = model()["calls"]
    with busy(model, tmp_path):
        session = model._deployment.running()
        assert session is not None
        other = interrupt_when(lambda: len(session.flight.sent) == 1 + sent)
        with pytest.raises(KeyboardInterrupt):
            wait(model)
        other.join()
    assert model()["calls"] == calls + 2


def test_a_map_that_is_left_early_takes_back_what_has_not_begun(model: isopod.Model, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    batches: list[dict[str, Any]] = [
        {"x": 1},
        {"do": "until_cancelled", "begun": str(begun)},
        *({"x": number} for number in range(50)),
    ]
    calls = model()["calls"]
    answers = model.map(batches, ahead=40)
    assert next(answers)["x"] == 2
    until(begun.exists)
    answers.close()  # type: ignore[attr-defined]
    assert model()["calls"] == calls + 3
