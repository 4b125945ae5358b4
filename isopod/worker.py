"""``isopod.worker`` outside of a worker, so that a model file can be imported, tested and debugged in the application.

In a worker the same name stands for the real thing; here ``empty`` is numpy's.
"""

from typing import Any

import numpy as np

__all__ = ["empty"]


def empty(shape: int | tuple[int, ...], dtype: Any = float) -> "np.ndarray[Any, Any]":
    """An uninitialised array. In a worker it lies in the memory that is shared with the application."""
    return np.empty(shape, dtype)
