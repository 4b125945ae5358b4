"""A model that looks whether it is cancelled, and what the tests do with it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from waits import GUARD, until

import isopod

LONG = 60.0  # seconds of grace in which a test's model stops for certain
MODELS = Path(__file__).resolve().parent.parent.parent / "models"


def sampler(**options: Any) -> isopod.Model:
    return isopod.load(MODELS / "cancelling.py:Sampler", **{"grace": LONG, **options})


@contextlib.contextmanager
def busy(model: isopod.Model, folder: Path) -> Iterator[Future[Any]]:
    """A call that runs until the block ends."""
    begun, go_on = folder / "begun", folder / "go on"
    slow = model.submit(do="wait", begun=str(begun), until=str(go_on))
    until(begun.exists)
    yield slow
    go_on.touch()
    slow.result(GUARD)


async def cancelled_when(holds: Callable[[], bool], task: asyncio.Task[Any]) -> None:
    give_up = time.monotonic() + GUARD
    while not holds():
        assert time.monotonic() < give_up
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
