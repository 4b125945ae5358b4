"""The demo's network in PyTorch 2: written for one image, and made to take many by ``torch.func.vmap``.

``torch.func`` came with 2.0, so neither this file nor ``net_torch1`` runs under the other's torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


class Net:
    """``weights``: the path of an .npz with kernel (3, 3, 1, f), bias (f), dense (n, classes)."""

    def __init__(self, weights: str) -> None:
        torch.set_num_threads(1)
        given = np.load(weights)
        kernel, bias, dense = (torch.from_numpy(given[name]) for name in ("kernel", "bias", "dense"))
        kernel, scaled = kernel.permute(3, 2, 0, 1), dense / torch.linalg.matrix_norm(dense, ord=2)

        def one(image: torch.Tensor) -> torch.Tensor:
            features = torch.relu(torch.conv2d(image.permute(2, 0, 1), kernel, bias))
            return torch.softmax(features.permute(1, 2, 0).flatten() @ scaled, 0)

        self._many = torch.func.vmap(one)

    def __call__(self, *, images: Any) -> Any:
        """Classify float32 images (n, height, width, 1); return the chance of each class."""
        with torch.inference_mode():
            return {"chances": self._many(torch.from_numpy(images)).numpy()}
