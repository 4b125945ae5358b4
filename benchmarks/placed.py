"""``plus_one`` for a model that knows of isopod: its output is made where it crosses without a copy."""

from __future__ import annotations

from typing import Any

import numpy as np

from isopod import worker


def plus_one(x: Any) -> Any:
    out = worker.empty(x.shape, x.dtype)
    np.add(x, 1, out=out)
    return out
