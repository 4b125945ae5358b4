"""Thread counts that no environment variable sets: they are set once a framework is imported."""

from __future__ import annotations

import sys
from typing import Sequence


def set_torch_threads(threads: Sequence[int]) -> None:
    """Torch's threads within an operation and between operations, where the model's file has imported it.

    The first have a variable in the environment, which a model's file may have overridden; the second have none, and
    can be set only until Torch has used them.
    """
    torch = sys.modules.get("torch")
    if torch is None or not threads:
        return
    torch.set_num_threads(threads[0])
    try:
        torch.set_num_interop_threads(threads[1])
    except RuntimeError:
        return  # the model's file has computed something already: what it chose stays
