"""The ways to call a model, as the tests do it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from waits import GUARD

import isopod


def call(model: isopod.Model, **inputs: Any) -> Any:
    return model(**inputs)


def future(model: isopod.Model, **inputs: Any) -> Any:
    return model.submit(**inputs).result(GUARD)


def task(model: isopod.Model, **inputs: Any) -> Any:
    return asyncio.run(model.acall(**inputs))


def mapped(model: isopod.Model, **inputs: Any) -> Any:
    before, out, after = model.map([{"x": 0}, inputs, {"x": 2}])
    assert (before["x"], after["x"]) == (0, 2)
    return out


CALLERS = [call, future, task, mapped]


def in_thread(action: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Do it in another thread; its result, or the error that it ended with, is put into the list."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(action())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, results
