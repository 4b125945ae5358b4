"""A model that computes with an operator of its own: a shared library that was compiled for one TensorFlow."""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later.

import tensorflow as tf


class Smooth:
    """``library``: the path of what was compiled from ``tests/conflicts/tensorflow_op.cpp``."""

    def __init__(self, library):
        self.smooth = tf.load_op_library(library).isopod_smooth

    def __call__(self, series, keep):
        smoothed, built_for = self.smooth(series=series, keep=keep)
        return {"smoothed": smoothed.numpy(), "built_for": built_for.numpy().decode()}
