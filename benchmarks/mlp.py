"""A multilayer perceptron of Torch with weights that are always the same, on one thread."""

# Runs in a worker whose environment has Torch.

from __future__ import annotations

import itertools
from typing import Any

import torch


class MLP:
    """``x`` is float32, (rows, first layer); ``scores`` is (rows, last layer)."""

    def __init__(self, layers: list[int]) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        parts: list[Any] = []
        for inputs, outputs in itertools.pairwise(layers):
            parts += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
        self.net = torch.nn.Sequential(*parts[:-1]).eval()

    def __call__(self, x: Any) -> dict[str, Any]:
        with torch.inference_mode():
            return {"scores": self.net(torch.from_numpy(x)).numpy()}
