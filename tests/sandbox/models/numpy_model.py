# mypy: ignore-errors
"""What numpy does, in threads too."""

import threading

import numpy as np


def work(x):
    results = {}

    def multiply():
        results["in a thread"] = float((x @ x.T).sum())

    thread = threading.Thread(target=multiply)
    thread.start()
    thread.join()
    values, vectors = np.linalg.eigh(x @ x.T)
    return {
        "product": x @ x.T,
        "threaded": results["in a thread"],
        "rebuilt": (vectors * values) @ vectors.T,
        "spectrum": np.abs(np.fft.fft(x)),
        "chance": np.random.default_rng(0).random(3),
    }
