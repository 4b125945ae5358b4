"""The network of the full demo in numpy: the answer that every framework's is held against."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = dict[str, NDArray[np.float32]]

_SIDE, _FILTERS, _CLASSES = 12, 8, 10


def weights(seed: int = 0) -> Weights:
    """Return the parameters: one 3×3 convolution, its bias, and a dense layer."""
    random = np.random.default_rng(seed)
    shapes = {"kernel": (3, 3, 1, _FILTERS), "bias": (_FILTERS,), "dense": ((_SIDE - 2) ** 2 * _FILTERS, _CLASSES)}
    return {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def images(count: int, seed: int = 1) -> NDArray[np.float32]:
    """Return that many images (count, 12, 12, 1)."""
    return np.random.default_rng(seed).standard_normal((count, _SIDE, _SIDE, 1)).astype(np.float32)


def save(parameters: Weights, path: Path) -> None:
    """Write the parameters to an .npz file, which is how they reach the models."""
    arrays: dict[str, Any] = dict(parameters)
    np.savez(path, **arrays)


def chances(given: NDArray[np.float32], parameters: Weights) -> NDArray[Any]:
    """Return the chance of each class for each image, in double precision.

    Convolution without padding, ReLU, a dense layer that is divided by its spectral norm, softmax.
    """
    windows = np.lib.stride_tricks.sliding_window_view(given[..., 0].astype(np.float64), (3, 3), axis=(1, 2))
    features = np.tensordot(windows, parameters["kernel"][:, :, 0], axes=2) + parameters["bias"]
    dense = parameters["dense"].astype(np.float64)
    logits = np.maximum(features, 0).reshape(len(given), -1) @ (dense / np.linalg.norm(dense, ord=2))
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
