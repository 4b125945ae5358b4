# mypy: ignore-errors
"""Threads, TorchScript (which compiles to machine code), autograd, oneDNN's convolutions, and a file of weights."""

import torch


class Net:
    def __init__(self):
        torch.manual_seed(0)
        torch.set_num_threads(2)
        self.net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten())
        self.script = torch.jit.script(_twice)

    def __call__(self, x):
        image = torch.tensor(x)  # a copy: what the application sends can only be read
        with torch.no_grad():
            plain = self.net(image)
        scripted = [self.script(image) for _ in range(5)][-1]
        weight = torch.ones(4, requires_grad=True)
        (weight * weight).sum().backward()
        return {
            "features": plain.numpy(),
            "scripted": scripted.numpy(),
            "gradient": weight.grad.numpy(),
            "threads": torch.get_num_threads(),
            "product": (torch.ones(300, 300) @ torch.ones(300, 300)).numpy(),
        }


def _twice(x: torch.Tensor) -> torch.Tensor:
    if bool((x > 100).any()):
        return x
    return torch.tanh(x) * 2 + x


class InPlace:
    """What is not allowed: the input is shared with the application."""

    def __call__(self, x):
        x += 1
        return {"x": x}
