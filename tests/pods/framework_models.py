"""Writes small models to files with whichever framework it runs in: a worker's, on Python 3.7 and later."""

# mypy: ignore-errors

import os


def torchscript(path, module="addition", op=""):
    import torch

    class Addition(torch.nn.Module):
        def forward(self, x, y):
            return {"out": x + y}

    class OneTensor(torch.nn.Module):
        def forward(self, x, y):
            return x + y

    class Twice(torch.nn.Module):
        def forward(self, x, y):
            return {"out": x}, {"out": y}

    class Smooth(torch.nn.Module):
        def forward(self, x):
            return {"out": torch.ops.isopod_conflicts.smooth(x, 0.5)}

    if op:
        torch.ops.load_library(op)
    made = {"addition": Addition, "one": OneTensor, "twice": Twice, "smooth": Smooth}[module]()
    torch.jit.script(made).save(path)
    return {"version": torch.__version__}


def frozen_graph(path):
    """``out = x + y * weight``, where the weight is a variable that was frozen."""
    import tensorflow as tf

    v1 = tf.compat.v1
    graph = tf.Graph()
    with graph.as_default():
        x, y = (v1.placeholder(tf.float32, [None], name="in_" + name) for name in "xy")
        weight = v1.get_variable("weight", initializer=2.0, use_resource=False)
        tf.add(x, y * weight, name="scope/out")
        with v1.Session(graph=graph) as session:
            session.run(v1.global_variables_initializer())
            frozen = v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), ["scope/out"])
    with open(path, "wb") as file:
        file.write(frozen.SerializeToString())
    return {"version": tf.__version__}


def saved_model(path):
    import tensorflow as tf

    v1 = tf.compat.v1
    if tf.__version__.startswith("1."):
        with tf.Graph().as_default(), v1.Session() as session:
            x, y = (v1.placeholder(tf.float32, [None], name=name) for name in "xy")
            v1.saved_model.simple_save(session, path, inputs={"x": x, "y": y}, outputs={"out": x + y * 2})
    else:
        module = tf.Module()
        spec = tf.TensorSpec([None], tf.float32)
        module.call = tf.function(lambda x, y: {"out": x + y * 2}, input_signature=[spec, spec])
        tf.saved_model.save(module, path, signatures=module.call)
    return {"version": tf.__version__, "files": sorted(os.listdir(path))}


def keras_frozen(path):
    """A Keras model frozen in its session, as the packager of that time did it; its nodes, by the package's names."""
    import tensorflow as tf

    v1 = tf.compat.v1
    v1.disable_eager_execution()
    with v1.Session(graph=tf.Graph()) as session, session.graph.as_default():
        layers = tf.keras.layers
        x = layers.Input(shape=(3,), name="x")
        dense = layers.Dense(2, kernel_initializer="ones", bias_initializer="ones", name="out")
        model = tf.keras.Model(inputs=x, outputs=dense(x))
        v1.keras.backend.set_session(session)
        session.run(v1.global_variables_initializer())
        node = model.outputs[0].op.name
        frozen = v1.graph_util.convert_variables_to_constants(session, session.graph.as_graph_def(), [node])
        nodes = {"x": model.inputs[0].name, "out": model.outputs[0].name}
    with open(path, "wb") as file:
        file.write(frozen.SerializeToString())
    return nodes
