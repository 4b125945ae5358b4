"""A model that keeps, views and returns its inputs through torch."""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later.

import torch


class Torch:
    def __init__(self):
        self.kept = None

    def __call__(self, do, x=None):
        if do == "keep":
            self.kept = torch.from_numpy(x)[1:].reshape(-1)
            return {"address": self.kept.data_ptr()}
        if do == "kept":
            return {"kept": self.kept.numpy().copy()}
        if do == "view":
            return {"view": torch.from_numpy(x)[1:].numpy(), "dlpack": torch.from_dlpack(x)[:1].numpy()}
        if do == "in place":
            return {"y": torch.from_numpy(x).add_(1).numpy()}
        if do == "threads":
            return {"within": torch.get_num_threads(), "between": torch.get_num_interop_threads()}
        self.kept = None
        return {"done": True}
