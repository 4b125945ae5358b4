# mypy: ignore-errors
"""Keras, a traced function, a gradient, and a SavedModel written to and read from the scratch folder."""

import os
import tempfile

import numpy as np
import tensorflow as tf


class Net:
    def __init__(self):
        self.net = tf.keras.Sequential([tf.keras.layers.Dense(3, kernel_initializer="ones", use_bias=False)])
        self.function = tf.function(lambda x: tf.reduce_sum(tf.matmul(x, x, transpose_b=True)))

    def __call__(self, x):
        variable = tf.Variable(2.0)
        with tf.GradientTape() as tape:
            squared = variable * variable
        return {
            "dense": self.net(tf.constant(x)).numpy(),
            "traced": np.asarray(self.function(tf.constant(x))),
            "gradient": np.asarray(tape.gradient(squared, variable)),
            "saved": self.saved(x),
            "version": tf.__version__,
        }

    def saved(self, x):
        with tempfile.TemporaryDirectory() as folder:
            module = tf.Module()
            module.double = tf.function(lambda x: 2 * x, input_signature=[tf.TensorSpec([None, 4], tf.float32)])
            tf.saved_model.save(module, os.path.join(folder, "saved"))
            return tf.saved_model.load(os.path.join(folder, "saved")).double(tf.constant(x)).numpy()
