"""A layer of a model's own, which registers itself."""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later.

import tensorflow as tf


@tf.keras.utils.register_keras_serializable("isopod_tests")
class Triple(tf.keras.layers.Layer):
    def call(self, x):
        return x * 3
