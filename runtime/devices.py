"""Which processor or GPU a worker may see: settled by variables before it is executed, for every framework alike.

A CUDA library reads ``CUDA_VISIBLE_DEVICES`` once, when it is first used; a number that comes later comes too late. So
a worker sees only the device that its model was asked to run on, and there it is the first: whether it is really
there, the worker says, which has the driver and the framework.
https://docs.nvidia.com/cuda/cuda-c-programming-guide/#cuda-environment-variables
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from isopod.ipc.errors import SpecError

_FORM = re.compile(r"cpu|cuda(?::(\d{1,3}))?")
_VISIBLE, _ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"


def check_device(device: str | None) -> None:
    """Raises ``SpecError`` for what is neither ``"cpu"`` nor a GPU by its number."""
    if device is not None and not _FORM.fullmatch(str(device)):
        raise SpecError(f"device is 'cpu', or a GPU such as 'cuda:0', not {device!r}")


def seen_device(device: str | None) -> str:
    """What the worker calls it: the only GPU that it sees is its first. Empty where none was asked for."""
    return "" if device is None else "cpu" if device == "cpu" else "cuda:0"


def with_device(variables: Mapping[str, str | None], device: str | None) -> dict[str, str | None]:
    """A worker's variables, so that it sees this device and no other. Raises ``SpecError``.

    A list of visible devices that is set already (in the model's environment, or in this application's) is what the
    number counts in, in that list's own order; without one it counts all devices, in the order of the PCI bus.
    """
    if device is None:
        return dict(variables)
    if device == "cpu":
        return {**variables, _VISIBLE: "-1"}  # an empty one is read as none by some frameworks, and as unset by others
    number = int((_FORM.fullmatch(device) or [None, None])[1] or 0)
    listed = variables[_VISIBLE] if _VISIBLE in variables else os.environ.get(_VISIBLE)
    if listed is None:
        return {**variables, _ORDER: "PCI_BUS_ID", _VISIBLE: str(number)}
    visible = [item.strip() for item in listed.split(",") if item.strip()]
    if number >= len(visible):
        raise SpecError(f"there is no device {device!r}: {_VISIBLE} lists {len(visible)} ({listed!r})")
    return {**variables, _VISIBLE: visible[number]}
