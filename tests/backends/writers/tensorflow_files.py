"""Writes small models of TensorFlow to files, by kind and path, in a worker that has the TensorFlow to write them."""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later.

import tensorflow as tf

v1 = tf.compat.v1


def double():
    x = v1.placeholder(tf.float32, [None, 3], name="x")
    return {"x": x}, {"y": tf.add(x * 2, 1, name="y")}


def words():
    x = v1.placeholder(tf.string, [None], name="words")
    return {"words": x}, {"loud": tf.strings.join([x, "!"], name="loud")}


def table():
    """Needs an operation to be run once: the table is empty before."""
    x = v1.placeholder(tf.string, [None], name="words")
    keys = v1.lookup.KeyValueTensorInitializer(["a", "b"], [1, 2], tf.string, tf.int64, name="start")
    found = v1.lookup.StaticHashTable(keys, -1)
    return {"words": x}, {"numbers": tf.identity(found.lookup(x), name="numbers")}


def newer():
    """Uses an operation that TensorFlow 1.15 does not have."""
    x = v1.placeholder(tf.float32, [None, 3], name="x")
    return {"x": x}, {"y": tf.identity(tf.raw_ops.ApproxTopK(input=x, k=1, reduction_dimension=1)[0], name="y")}


def bad_bytes():
    x = v1.placeholder(tf.uint8, [None], name="x")
    strings = tf.strings.join([tf.constant([b"\xff\xfe"]), tf.constant([b"\x01"])], name="y")
    with tf.control_dependencies([x]):
        return {"x": x}, {"y": tf.identity(strings, name="out")}


def with_op(library):
    op = tf.load_op_library(library).isopod_smooth
    x = v1.placeholder(tf.float32, [None, None], name="series")
    smoothed, built_for = op(series=x, keep=0.5)
    return {"series": x}, {
        "smoothed": tf.identity(smoothed, name="smoothed"),
        "built_for": tf.identity(built_for, name="built_for"),
    }


def write_graph(kind, path, library):
    graph = tf.Graph()
    with graph.as_default():
        globals()[kind](*([library] if library else []))
        with open(path, "wb") as file:
            file.write(graph.as_graph_def().SerializeToString())


def write_saved_model(kind, path, library):
    graph = tf.Graph()
    with graph.as_default(), v1.Session(graph=graph) as session:
        inputs, outputs = globals()[kind](*([library] if library else []))
        v1.saved_model.simple_save(session, path, inputs, outputs)


class Module(tf.Module):
    """Two signatures, as TensorFlow 2 writes them."""

    def __init__(self):
        super().__init__()
        self.calls = tf.Variable(0, dtype=tf.int64)

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def double(self, x):
        return {"y": x * 2 + 1}

    @tf.function(input_signature=[tf.TensorSpec([2], tf.bfloat16, name="x")])
    def half(self, x):
        return {"y": x / 2}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="words")])
    def loud(self, words):
        return {"loud": tf.strings.join([words, "!"]), "calls": self.calls.assign_add(1)}


def write(kind, path, library=""):
    form, _, kind = kind.partition(" ")
    if form == "graph":
        write_graph(kind, path, library)
    elif form == "saved_model":
        write_saved_model(kind, path, library)
    else:
        module = Module()
        signatures = {"serving_default": module.double, "loud": module.loud, "half": module.half}
        tf.saved_model.save(module, path, signatures=signatures)
    return {"version": tf.__version__}
