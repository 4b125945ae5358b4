"""The demo's network in Keras, with a layer of its own: written to a file by one Keras, answered from it by another.

The code is such that Keras 2 and Keras 3 both run it. What they do not share is the files.
"""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later.

import numpy as np
import tensorflow as tf

keras = tf.keras


@keras.utils.register_keras_serializable("isopod")
class Spectral(keras.layers.Layer):
    """A dense layer without bias whose matrix is divided by its spectral norm."""

    def __init__(self, units, **more):
        super().__init__(**more)
        self.units = units

    def build(self, shape):
        self.kernel = self.add_weight(name="kernel", shape=(int(shape[-1]), self.units))

    def call(self, x):
        return tf.matmul(x, self.kernel) / tf.linalg.svd(self.kernel, compute_uv=False)[0]

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class Writer:
    """``weights``: the path of the demo's .npz."""

    def __init__(self, weights):
        given = np.load(weights)
        kernel, bias, dense = (given[name] for name in ("kernel", "bias", "dense"))
        self.model = keras.Sequential(
            [
                keras.layers.Input((12, 12, 1)),
                # of one channel it makes as many as there are filters: the same as a convolution
                keras.layers.DepthwiseConv2D(3, depth_multiplier=bias.size, activation="relu"),
                keras.layers.Flatten(),
                Spectral(dense.shape[1]),
                keras.layers.Softmax(),
            ]
        )
        self.model.set_weights([kernel, bias, dense])

    def __call__(self, path):
        """Write a file or a folder, in the format that its name asks for."""
        self.model.save(path)
        return {"version": tf.__version__}


class Net:
    """``path``: what a ``Writer`` wrote."""

    def __init__(self, path):
        self.model = keras.models.load_model(path, compile=False)

    def __call__(self, images):
        return {"chances": self.model(images).numpy(), "version": tf.__version__}
