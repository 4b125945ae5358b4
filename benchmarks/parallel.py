"""How many calls a second: from several threads, or from the tasks of one event loop. As nanoseconds a call."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import isopod


def by_threads(calls: Sequence[Callable[[], object]], each: int) -> int:
    """Every call in a thread of its own, ``each`` times."""
    ready = threading.Barrier(len(calls) + 1)

    def work(call: Callable[[], object]) -> None:
        ready.wait()
        for _ in range(each):
            call()

    threads = [threading.Thread(target=work, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    ready.wait()
    began = time.perf_counter_ns()
    for thread in threads:
        thread.join()
    return (time.perf_counter_ns() - began) // (len(calls) * each)


def by_tasks(model: isopod.Model, inputs: dict[str, Any], tasks: int) -> int:
    """So many tasks at once, one call each. Raises ``AssertionError`` where an answer is lost."""

    async def all_of_them() -> int:
        began = time.perf_counter_ns()
        answers = await asyncio.gather(*(model.acall(inputs) for _ in range(tasks)))
        taken = time.perf_counter_ns() - began
        if len(answers) != tasks or any("output" not in answer for answer in answers):
            raise AssertionError(f"{len(answers)} of {tasks} calls were answered")
        return taken // tasks

    return asyncio.run(all_of_them())
