"""The demo's network in TensorFlow 1.15, as it was written then: a graph, a session, and ``tf.contrib.layers``.

``tf.contrib`` left TensorFlow with 2.0, and 1.15 runs on no Python after 3.7: this file can live nowhere else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

layers = tf.contrib.layers


class Net:
    """``weights``: the path of an .npz with kernel (3, 3, 1, f), bias (f), dense (n, classes)."""

    def __init__(self, weights: str) -> None:
        given = np.load(weights)
        graph = tf.Graph()
        with graph.as_default():
            self._images = tf.compat.v1.placeholder(tf.float32, [None, None, None, 1])
            features = layers.conv2d(
                self._images,
                given["bias"].size,
                3,
                padding="VALID",
                activation_fn=tf.nn.relu,
                weights_initializer=tf.constant_initializer(given["kernel"]),
                biases_initializer=tf.constant_initializer(given["bias"]),
            )
            flat = tf.reshape(features, [-1, given["dense"].shape[0]])
            dense = tf.constant(given["dense"])
            norm = tf.linalg.svd(dense, compute_uv=False)[0]
            self._chances = layers.softmax(tf.matmul(flat, dense) / norm)
            self._session = tf.compat.v1.Session()
            self._session.run(tf.compat.v1.global_variables_initializer())

    def __call__(self, *, images: Any) -> Any:
        """Classify float32 images (n, height, width, 1); return the chance of each class."""
        return {"chances": self._session.run(self._chances, {self._images: images})}

    def close(self) -> None:
        self._session.close()
