"""Writes small models of Keras to files, by kind and path, in a worker that has the Keras to write them."""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later.

import numpy as np
import tensorflow as tf

keras = tf.keras
layers = keras.layers


def double():
    """One dense layer, so that it has weights: y = 2x + 1."""
    x = layers.Input((3,), name="x")
    model = keras.Model(x, layers.Dense(3, name="y")(x))
    model.set_weights([2 * np.eye(3, dtype="float32"), np.ones(3, "float32")])
    return model


def two():
    a, b = layers.Input((3,), name="a"), layers.Input((3,), name="b")
    return keras.Model([b, a], [layers.Subtract(name="difference")([a, b]), layers.Add(name="sum")([a, b])])


def dicts():
    left, right = layers.Input((3,), name="left"), layers.Input((3,), name="right")
    return keras.Model({"right": right, "left": left}, {"sum": left + right, "difference": left - right})


def write(kind, path, library=""):
    if kind == "weights":
        double().save_weights(path)
    elif kind == "own layer":
        import own_layer

        x = layers.Input((3,), name="x")
        keras.Model(x, own_layer.Triple(name="y")(x)).save(path)
    else:
        globals()[kind]().save(path)
    return {"version": tf.__version__}
