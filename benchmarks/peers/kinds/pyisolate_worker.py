"""pyisolate's side of the worker: it imports this class by its name, and only its methods may be called."""

from __future__ import annotations

from typing import Any

import pyisolate
import torch

from benchmarks.peers import contract


class Extension(pyisolate.ExtensionBase):  # type: ignore[misc]  # it has no types where we check ours
    async def call(self, function: str, tensor: Any) -> Any:
        torch.set_num_threads(1)
        return torch.from_numpy(contract.function_of(function)(tensor.numpy()))
