"""Callables that get tensors: for the pytorch backend."""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later.

import torch


class Double(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 3)
        self.drop = torch.nn.Dropout(0.9)
        with torch.no_grad():
            self.layer.weight.copy_(2 * torch.eye(3))
            self.layer.bias.fill_(1)

    def forward(self, x):
        return {"y": self.drop(self.layer(x))}


def facts(x):
    """What a callable sees: its tensor, the mode it runs in, the threads that it has."""
    return {
        "kind": type(x).__name__,
        "dtype": str(x.dtype),
        "inference": torch.is_inference_mode_enabled(),
        "grad": (x.float() * 2).requires_grad,
        "threads": torch.get_num_threads(),
        "y": x,
    }


def pair(x, word):
    return x + 1, [word[0] + "!"]


def half(x):
    return x.to(torch.bfloat16) * 2


def small(x):
    return x.to(torch.float8_e4m3fn)


def conjugate(x):
    return torch.complex(x, x).conj()


def in_place(x):
    return x.add_(1)
