"""A model that computes with an operator of its own: a shared library that was compiled for one Torch."""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later.

import torch


class Smooth:
    """``library``: the path of what was compiled from ``tests/conflicts/torch_op.cpp``."""

    def __init__(self, library):
        torch.ops.load_library(library)

    def __call__(self, series, keep):
        smoothed = torch.ops.isopod_conflicts.smooth(torch.from_numpy(series), keep)
        return {"smoothed": smoothed.numpy(), "built_for": torch.ops.isopod_conflicts.built_for()}
