"""Whether the device that a model is to run on is there, asked of the driver before any framework is imported.

Which devices this process can see was settled before it was executed (``CUDA_VISIBLE_DEVICES``), so the one that is
meant is the first. https://docs.nvidia.com/cuda/cuda-driver-api/
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

from isopod.ipc.errors import SpecError


def check(device: str) -> None:
    """Raises ``SpecError``, which says what is there, where a GPU is asked for and the driver has none to show."""
    if not device.startswith("cuda"):
        return
    there, why = _gpus()
    if not there:
        seen = os.environ.get("CUDA_VISIBLE_DEVICES")
        wanted = "a GPU is needed, and it" if seen is None else f"the GPU {seen} was asked for, and"
        raise SpecError(f"{wanted} is not there: {why}; here is only the processor, device='cpu'")


def lacking(device: str, framework: str, there: str) -> SpecError:
    """The error for a framework that cannot use a GPU which the driver has."""
    return SpecError(
        f"device {device!r} cannot be used: the driver shows {', '.join(_gpus()[0]) or 'no GPU'}, but {framework} "
        f"has only {there}; install its build for CUDA in the model's environment, or load with device='cpu'"
    )


def _gpus() -> Any:
    """(names of the GPUs that this process sees, why there are none)."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return [], "this machine has no NVIDIA driver (libcuda.so.1)"
    status = driver.cuInit(0)
    if status:
        return [], f"the driver says CUDA error {status}"
    count, names = ctypes.c_int(0), []
    driver.cuDeviceGetCount(ctypes.byref(count))
    for number in range(count.value):
        name = ctypes.create_string_buffer(256)
        driver.cuDeviceGetName(name, 256, number)
        names.append(name.value.decode("utf-8", "replace"))
    return names, "the driver shows none"
