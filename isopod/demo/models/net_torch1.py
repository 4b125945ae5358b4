"""The demo's network in PyTorch 1: TorchScript, and ``torch.symeig`` for the norm of its last layer.

``torch.symeig`` was removed in 2.0: code that was never touched again needs the torch that it was written for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def chances(images: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor, dense: torch.Tensor) -> torch.Tensor:
    """The network; compiled as TorchScript below."""
    features = torch.relu(torch.conv2d(images.permute(0, 3, 1, 2), kernel, bias))
    flat = features.permute(0, 2, 3, 1).reshape(images.shape[0], -1)
    return torch.softmax(flat @ dense, 1)


class Net:
    """``weights``: the path of an .npz with kernel (3, 3, 1, f), bias (f), dense (n, classes)."""

    def __init__(self, weights: str) -> None:
        torch.set_num_threads(1)
        given = np.load(weights)
        kernel, bias, dense = (torch.from_numpy(given[name]) for name in ("kernel", "bias", "dense"))
        # the spectral norm is the root of the largest eigenvalue; symeig returns them in ascending order
        norm = torch.symeig(dense.T @ dense).eigenvalues[-1].sqrt()
        self._parameters = kernel.permute(3, 2, 0, 1).contiguous(), bias, dense / norm
        self._chances = torch.jit.script(chances)

    def __call__(self, *, images: Any) -> Any:
        """Classify float32 images (n, height, width, 1); return the chance of each class."""
        with torch.no_grad():
            return {"chances": self._chances(torch.from_numpy(images), *self._parameters).numpy()}
