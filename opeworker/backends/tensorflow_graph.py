"""Graphs of TensorFlow in a session, as TensorFlow 1 ran them: frozen graphs, and SavedModels under TensorFlow 1.15.

Feeds are read where they lie under TensorFlow 2, if their memory is aligned; 1.15 copies them once more. Fetched arrays
are copied once, by the outbox.
"""

from __future__ import annotations

import os
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from isopod.ipc.errors import SpecError
from isopod.ipc.spec import TensorSpec
from isopod.opeworker.backends import Order, requires
from isopod.opeworker.backends import tensorflow_values as values

with requires("tensorflow"):
    import tensorflow as tf

v1 = tf.compat.v1
_PLACEHOLDERS = ("Placeholder", "PlaceholderWithDefault", "PlaceholderV2")
_NO_VALUE = ("NoOp", "Assert", "Const")


class Graph:
    """A session with named inputs and outputs, which are tensors of its graph."""

    open = False

    def __init__(self, session: Any, inputs: Dict[str, Any], outputs: Dict[str, Any]) -> None:
        self._session = session
        self._feeds = inputs
        self._fetches = outputs
        self.inputs = [_spec(name, tensor) for name, tensor in inputs.items()]
        self.outputs = [_spec(name, tensor) for name, tensor in outputs.items()]

    def __call__(self, inputs: Dict[str, Any]) -> Any:
        feeds = {
            self._feeds[name]: values.plain_text(value) if hasattr(value, "dtype") else value
            for name, value in inputs.items()
        }
        returned = self._session.run(self._fetches, feeds)
        return {name: values.decoded(name, _array(value)) for name, value in returned.items()}

    def close(self) -> None:
        self._session.close()


def frozen(order: Order, options: Dict[str, Any]) -> Graph:
    """A GraphDef whose variables are constants. Raises ``SpecError``."""
    definition = v1.GraphDef()
    with open(order.path, "rb") as file:
        data = file.read()
    try:
        definition.ParseFromString(data)
    except Exception as error:  # protobuf's DecodeError, which has no stable home; goes to the caller of load()
        raise SpecError(f"{order.path} is no frozen graph, or was cut short: {values.first_line(error)}") from error
    graph = tf.Graph()
    with graph.as_default():
        try:
            tf.import_graph_def(definition, name="")
        except Exception as error:  # goes to the caller of load(), with what the file says of its origin
            raise SpecError(_explained_graph(order.path, definition, error)) from error
    inputs, outputs = _ends(order, graph, dict(options.get("node_name_mapping") or {}))
    session = _session(order, graph)
    for name in options.get("init_op_names") or ():
        session.run(_operation(graph, name))
    return Graph(session, inputs, outputs)


def saved_model(order: Order, signature: str, tags: Sequence[str]) -> Graph:
    """A SavedModel's signature in a session. Raises ``SpecError``."""
    graph = tf.Graph()
    session = _session(order, graph)
    try:
        with graph.as_default():
            loaded = v1.saved_model.load(session, tags, order.path)
    except Exception as error:  # goes to the caller of load(), with what the file says of its origin
        raise SpecError(explained_saved_model(order.path, error)) from error
    signatures = {name: found for name, found in loaded.signature_def.items() if not name.startswith("__")}
    values.need_names("signature", list(signatures), signature)
    chosen = signatures[signature]
    ends = [
        {name: graph.get_tensor_by_name(info.name) for name, info in sorted(side.items())}
        for side in (chosen.inputs, chosen.outputs)
    ]
    return Graph(session, *ends)


def _session(order: Order, graph: Any) -> Any:
    settings = v1.ConfigProto()
    settings.gpu_options.allow_growth = True
    if order.threads:
        settings.intra_op_parallelism_threads, settings.inter_op_parallelism_threads = order.threads
    return v1.Session(graph=graph, config=settings)


def _ends(order: Order, graph: Any, mapping: Dict[str, str]) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """(inputs, outputs): by what is declared where something is, else by what kind of node each of them is."""
    named = {name: _tensor(graph, node) for name, node in mapping.items()}
    declared = {side: [spec.name for spec in order.declared(side)] for side in ("inputs", "outputs")}
    if declared["inputs"] or declared["outputs"]:
        sides = [
            {name: named[name] if name in named else _tensor(graph, name) for name in declared[side]}
            for side in ("inputs", "outputs")
        ]
        return sides[0], sides[1]
    if named:
        inputs = {name: tensor for name, tensor in named.items() if tensor.op.type in _PLACEHOLDERS}
        return inputs, {name: tensor for name, tensor in named.items() if name not in inputs}
    operations = graph.get_operations()
    inputs = {op.name: op.outputs[0] for op in operations if op.type in _PLACEHOLDERS}
    ends = [op for op in operations if op.outputs and op.type not in (*_NO_VALUE, *_PLACEHOLDERS)]
    outputs: Dict[str, Any] = {}
    for op in ends:
        for number, tensor in enumerate(op.outputs):
            if not tensor.consumers():
                outputs[op.name if len(op.outputs) == 1 else f"{op.name}_{number}"] = tensor
    return inputs, outputs


def _tensor(graph: Any, node: str) -> Any:
    name = node if ":" in node else f"{node}:0"
    try:
        return graph.get_tensor_by_name(name)
    except (KeyError, ValueError):
        there: List[str] = [op.name for op in graph.get_operations() if op.outputs][-10:]
        raise SpecError(
            f"there is no node {name!r} in the graph (its last ones are {', '.join(there)}); "
            "options={'node_name_mapping': {…}} says which nodes are meant"
        ) from None


def _operation(graph: Any, name: str) -> Any:
    try:
        return graph.get_operation_by_name(name.partition(":")[0])
    except (KeyError, ValueError):
        raise SpecError(f"there is no operation {name!r} in the graph, which init_op_names names") from None


def _spec(name: str, tensor: Any) -> TensorSpec:
    return values.spec_of(name, tensor.dtype.base_dtype, tensor.shape, tensor.op.type != "PlaceholderWithDefault")


def _array(value: Any) -> Any:
    return np.asarray(value, dtype=object) if isinstance(value, (bytes, str)) else np.asarray(value)


def _explained_graph(path: str, definition: Any, error: Exception) -> str:
    """A graph tells the version of the format that it was written in, which grows with every TensorFlow."""
    wrote, reads = definition.versions.producer, tf.version.GRAPH_DEF_VERSION
    origin = f"it has graph version {wrote}, and {values.VERSION} has {reads}"
    remedy = ": a newer TensorFlow wrote it; load it in an environment with that one" if wrote > reads else ""
    return f"{path} cannot be loaded by {values.VERSION}: {values.first_line(error)}; {origin}{remedy}"


def explained_saved_model(path: str, error: Exception) -> str:
    """A SavedModel tells which TensorFlow wrote it."""
    from tensorflow.core.protobuf import saved_model_pb2

    head = f"{path} cannot be loaded by {values.VERSION}: {values.first_line(error)}"
    description = saved_model_pb2.SavedModel()
    try:
        with open(os.path.join(path, "saved_model.pb"), "rb") as file:
            description.ParseFromString(file.read())
    except Exception as damage:  # is told: a file that is not whole is why it does not load
        return f"{head}; its saved_model.pb was cut short or damaged ({values.first_line(damage)})"
    versions = sorted({graph.meta_info_def.tensorflow_version for graph in description.meta_graphs} - {""})
    tags = [" ".join(graph.meta_info_def.tags) for graph in description.meta_graphs]
    return (
        f"{head}; it was written by TensorFlow {', '.join(versions) or 'of an unknown version'}, with the tags {tags}"
    )
