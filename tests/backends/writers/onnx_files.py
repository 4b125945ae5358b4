"""Writes small ONNX models to files, by kind and path, in a worker that has the onnx package to make them."""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later.

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper, numpy_helper


def value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def double():
    two, one = helper.make_tensor("two", T.FLOAT, [], [2.0]), helper.make_tensor("one", T.FLOAT, [], [1.0])
    nodes = [helper.make_node("Mul", ["x", "two"], ["t"]), helper.make_node("Add", ["t", "one"], ["y"])]
    shape = ["batch", 3]
    return helper.make_graph(nodes, "g", [value("x", T.FLOAT, shape)], [value("y", T.FLOAT, shape)], [two, one])


def external():
    """The same, for weights that go into a file beside the model's."""
    graph = double()
    for tensor in graph.initializer:
        number = {"two": 2, "one": 1}[tensor.name]
        tensor.CopyFrom(numpy_helper.from_array(np.full(3, number, np.float32), tensor.name))
    return graph


def untrue():
    """Says of its output that it has as many rows as its input, and it has twice as many."""
    shape = ["batch", 3]
    node = helper.make_node("Concat", ["x", "x"], ["y"], axis=0)
    return helper.make_graph([node], "g", [value("x", T.FLOAT, shape)], [value("y", T.FLOAT, shape)])


def identity(kind, shape):
    node = helper.make_node("Identity", ["x"], ["y"])
    return helper.make_graph([node], "g", [value("x", kind, shape)], [value("y", kind, shape)])


def words():
    return identity(T.STRING, [None])


def bfloat16():
    return identity(T.BFLOAT16, ["n"])


def scalar():
    return identity(T.FLOAT, [])


def newer():
    return identity(T.FLOAT, ["n"])


def unknown_op():
    node = helper.make_node("Foo", ["x"], ["y"], domain="my.ops")
    return helper.make_graph([node], "g", [value("x", T.FLOAT, ["n"])], [value("y", T.FLOAT, ["n"])])


def zipmap():
    """What converters of classifiers make of the chances: a list with one map a row, from class to number."""
    node = helper.make_node("ZipMap", ["x"], ["chances"], domain="ai.onnx.ml", classlabels_int64s=[7, 9])
    number = helper.make_tensor_type_proto(T.FLOAT, None)
    maps = helper.make_sequence_type_proto(helper.make_map_type_proto(T.INT64, number))
    chances = onnx.ValueInfoProto(name="chances", type=maps)
    return helper.make_graph([node], "g", [value("x", T.FLOAT, ["rows", 2])], [chances])


def upper():
    node = helper.make_node("StringUpper", ["x"], ["y"], domain="ai.onnx.contrib")
    return helper.make_graph([node], "g", [value("x", T.STRING, ["n"])], [value("y", T.STRING, ["n"])])


def write(kind, path, library=""):
    sets = [helper.make_opsetid("", 99 if kind == "newer" else 13)]
    sets += [helper.make_opsetid(name, 1) for name in ("my.ops", "ai.onnx.contrib", "ai.onnx.ml")]
    model = helper.make_model(globals()[kind](), opset_imports=sets)
    model.ir_version = 7
    if kind == "external":
        onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    else:
        onnx.save(model, path)
    return {"version": onnx.__version__}
