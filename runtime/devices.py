"""The one device that a model is to run on: the processor, or a GPU by its number. How a worker is told is
``environment.devices``' affair.

A CUDA library reads its variables once, when it is first used; a number that comes later comes too late. So a worker
sees only the device that its model was asked to run on, from before it is executed, and there it is the first: whether
it is really there, the worker says, which has the driver and the framework.
https://docs.nvidia.com/cuda/cuda-c-programming-guide/#cuda-environment-variables
"""

from __future__ import annotations

import re

from isopod.ipc.errors import SpecError

_FORM = re.compile(r"cpu|cuda(?::(0|[1-9]\d{0,2}))?")


def check_device(device: str | None) -> None:
    """Raises ``SpecError`` for what is neither ``"cpu"`` nor a GPU by its number."""
    if device is not None and not _FORM.fullmatch(str(device)):
        raise SpecError(f"device is 'cpu', or a GPU such as 'cuda:0', not {device!r}")


def seen_device(device: str | None) -> str:
    """What the worker calls it: the only GPU that it sees is its first. Empty where none was asked for."""
    return "" if device is None else "cpu" if device == "cpu" else "cuda:0"
