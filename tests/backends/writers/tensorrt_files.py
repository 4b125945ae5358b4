"""Builds a small engine of TensorRT, on the GPU that is to run it."""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later.

import numpy as np
import tensorrt


def write(kind, path, library=""):
    """y = 2x + 1, for 1 to 1000 rows of three."""
    logger = tensorrt.Logger(tensorrt.Logger.WARNING)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(0)
    x = network.add_input("x", tensorrt.float32, (-1, 3))
    two, one = (network.add_constant((1, 3), np.full((1, 3), value, np.float32)).get_output(0) for value in (2, 1))
    product = network.add_elementwise(x, two, tensorrt.ElementWiseOperation.PROD).get_output(0)
    y = network.add_elementwise(product, one, tensorrt.ElementWiseOperation.SUM).get_output(0)
    y.name = "y"
    network.mark_output(y)
    profile = builder.create_optimization_profile()
    profile.set_shape("x", (1, 3), (8, 3), (1000, 3))
    settings = builder.create_builder_config()
    settings.add_optimization_profile(profile)
    with open(path, "wb") as file:
        file.write(bytes(builder.build_serialized_network(network, settings)))
    return {"version": tensorrt.__version__}
