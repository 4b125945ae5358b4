"""Says whether a framework's tensor lies where the array lies that it was made of: the backends' own conversions."""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later.

import numpy as np


def in_torch(x):
    import torch

    from isopod.opeworker.backends import torch_values

    tensor = torch_values.to_torch("x", x, torch.device("cpu"))
    return {"same": tensor.data_ptr() == x.ctypes.data, "aligned": x.ctypes.data % 64 == 0}


def placed_by_torch(a, b):
    """On a device without memory, as if it were a GPU."""
    import torch

    from isopod.opeworker.backends import torch_values

    placed = torch_values.to_torch_all({"a": a, "b": b}, torch.device("meta"), frozenset(["b"]))
    return {name: tensor.device.type for name, tensor in placed.items()}


def in_tensorflow(x):
    from isopod.opeworker.backends import tensorflow_values

    tensor = tensorflow_values.to_tensor(x)
    back = tensorflow_values.to_array("x", tensor)
    here = np.asarray(memoryview(tensor)).ctypes.data
    return {
        "same": here == x.ctypes.data,
        "aligned": x.ctypes.data % 64 == 0,
        "out": back.ctypes.data == here,
    }


def fed_to_a_session(x):
    import tensorflow as tf

    seen = []
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph:
        given = v1.placeholder(tf.float32, [None, None])
        out = v1.py_func(lambda value: (seen.append(value.ctypes.data), np.float32(0))[1], [given], tf.float32)
        with v1.Session(graph=graph) as session:
            session.run(out, {given: x})
    return {"same": seen == [x.ctypes.data]}


def initialisers(path):
    """The operations of a graph that fill its tables."""
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef()
    with open(path, "rb") as file:
        graph.ParseFromString(file.read())
    return {"names": [node.name for node in graph.node if node.op.startswith("InitializeTable") or "Import" in node.op]}
