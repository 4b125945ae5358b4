"""Implementations of one problem, for the tests of problems and of comparisons: what each does is in its name."""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later.

import os
import time

import numpy as np


def right(x, scale=1.0):
    return {"y": (x * np.float32(scale)).astype(np.float32), "best": x.argmax(axis=-1)}


def told(x, scale):
    """What came, as it came."""
    return {"kind": str(type(scale).__name__), "dtype": str(getattr(scale, "dtype", "")), "x": str(x.dtype)}


def nearly(x, scale=1.0):
    """One unit in the last place away."""
    answer = right(x, scale)
    answer["y"] = np.nextafter(answer["y"], np.float32(np.inf))
    return answer


def far(x, scale=1.0):
    answer = right(x, scale)
    answer["y"] = answer["y"] + np.float32(0.5)
    return answer


def sometimes_nan(x, scale=1.0):
    answer = right(x, scale)
    answer["y"][..., 0] = np.nan
    answer["y"][..., -1] = np.inf
    return answer


def double(x, scale=1.0):
    answer = right(x, scale)
    return {"y": answer["y"].astype(np.float64), "best": answer["best"]}


def flat(x, scale=1.0):
    answer = right(x, scale)
    return {"y": answer["y"].ravel(), "best": answer["best"]}


def one_short(x, scale=1.0):
    return {"y": right(x, scale)["y"]}


def wrong_batch(x, scale=1.0):
    answer = right(x, scale)
    return {"y": np.concatenate([answer["y"], answer["y"]]), "best": answer["best"]}


def crashes_on_negatives(x, scale=1.0):
    if (x < 0).any():
        os._exit(7)
    return right(x, scale)


def raises(x, scale=1.0):
    raise ValueError("not today")


def hangs(x, scale=1.0):
    while True:
        time.sleep(0.01)


def slow(x, scale=1.0):
    time.sleep(0.02)
    return right(x, scale)


def plain(x, scale=1.0):
    """Values that are no arrays."""
    return {"y": right(x, scale)["y"], "best": x.argmax(axis=-1), "label": "shrimp", "score": 0.25, "more": [1, "a"]}


class CannotBeMade:
    def __init__(self):
        raise RuntimeError("no weights")

    def __call__(self, x, scale=1.0):
        return {}
