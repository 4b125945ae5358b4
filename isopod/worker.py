"""``isopod.worker`` outside of a worker, so that a model file can be imported, tested and debugged in the application.

In a worker the same names stand for the real things; here ``empty`` is numpy's, and nobody cancels anything.
"""

from typing import Any

import numpy as np

__all__ = ["cancelled", "deadline", "empty"]


def empty(shape: int | tuple[int, ...], dtype: Any = float) -> "np.ndarray[Any, Any]":
    """An uninitialised array. In a worker it lies in the memory that is shared with the application."""
    return np.empty(shape, dtype)


def cancelled() -> bool:
    """Whether nobody waits for the running call any more. In a worker a long call looks from time to time, and stops:
    if it has looked before its deadline, it has ``isopod.load``'s ``grace`` to do so, and is not killed.

    ::

        for step in range(steps):
            if worker.cancelled():
                return {"image": image}
            image = self.denoise(image, step)
    """
    return False


def deadline() -> float | None:
    """When the running call is due, in seconds of ``time.monotonic()``; None if it has no deadline.

    ::

        due = worker.deadline()
        solver.solve(problem, time_limit=60.0 if due is None else due - time.monotonic())
    """
    return None
