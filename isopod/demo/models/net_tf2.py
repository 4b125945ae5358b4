"""The demo's network in TensorFlow 2 with Keras 3: ``keras.ops`` in a compiled ``tf.function``.

``keras.ops`` came with Keras 3, and needs a TensorFlow that cannot share a process with the one of ``net_tf1``.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf


class Net:
    """``weights``: the path of an .npz with kernel (3, 3, 1, f), bias (f), dense (n, classes)."""

    def __init__(self, weights: str) -> None:
        given = np.load(weights)
        kernel, bias, dense = (keras.ops.convert_to_tensor(given[name]) for name in ("kernel", "bias", "dense"))
        scaled = dense / keras.ops.norm(dense, ord=2)

        def chances(images: Any) -> Any:
            features = keras.ops.relu(keras.ops.conv(images, kernel, padding="valid") + bias)
            return keras.ops.softmax(keras.ops.reshape(features, (-1, scaled.shape[0])) @ scaled)

        self._chances = tf.function(chances, input_signature=[tf.TensorSpec([None, None, None, 1], tf.float32)])

    def __call__(self, *, images: Any) -> Any:
        """Classify float32 images (n, height, width, 1); return the chance of each class."""
        return {"chances": self._chances(tf.convert_to_tensor(images)).numpy()}
