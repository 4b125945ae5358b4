"""Keras models written as TensorFlow's: frozen in a session, as Keras had one for each model, or as a SavedModel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isopod.ipc.errors import SpecError
from isopod.runtime.pods import layout

from . import tensorflow

_BATCH = "batch_size"


class Names:
    """Inputs and outputs of a model under the package's names: ``inputs`` and ``outputs`` map them to its tensors.

    ``mapping`` is from the package's names to Keras' own. Raises ``SpecError`` for names that the model does not have.
    """

    def __init__(self, model: Any, mapping: Mapping[str, str]) -> None:
        try:
            theirs = [_name(tensor, index, model, "input_names") for index, tensor in enumerate(model.inputs)]
            given = [_name(tensor, index, model, "output_names") for index, tensor in enumerate(model.outputs)]
        except (AttributeError, TypeError):
            raise SpecError(f"a {type(model).__name__} is no Keras model that is built: it has no inputs") from None
        for name in mapping.values():
            if name not in theirs + given:
                raise SpecError(f"the model has no {name!r}; it has {', '.join(theirs + given)}")
        ours = {keras: name for name, keras in mapping.items()}
        self.inputs = {ours.get(name, name): tensor for name, tensor in zip(theirs, model.inputs, strict=True)}
        self.outputs = {ours.get(name, name): tensor for name, tensor in zip(given, model.outputs, strict=True)}

    def inputs_spec(self) -> list[dict[str, Any]]:
        return [_spec(name, tensor) for name, tensor in self.inputs.items()]

    def outputs_spec(self) -> list[dict[str, Any]]:
        return [_spec(name, tensor) for name, tensor in self.outputs.items()]


def write(model: Any, sess: Any, names: Names, folder: Path) -> dict[str, Any]:
    """Write the model below ``folder`` and return what goes into the platform's ``config.json``."""
    tf = tensorflow.library()
    if sess is None:
        _save(tf, model, names, folder / layout.SAVED_MODEL)
        return {"node_name_mapping": {}, "init_op_names": []}
    tensors = {**names.inputs, **names.outputs}
    graph = tf.compat.v1.graph_util.convert_variables_to_constants(
        sess, sess.graph.as_graph_def(), [tensor.op.name for tensor in names.outputs.values()]
    )
    tensorflow.write_graph(graph, folder / layout.FROZEN_GRAPH)
    return {"node_name_mapping": {name: tensor.name for name, tensor in tensors.items()}, "init_op_names": []}


def _save(tf: Any, model: Any, names: Names, folder: Path) -> None:
    """With a signature in the package's names."""
    takes = [tf.TensorSpec(tensor.shape, tensor.dtype, name=name) for name, tensor in names.inputs.items()]

    def serve(*arrays: Any) -> dict[str, Any]:
        returned = model(list(arrays) if len(arrays) > 1 else arrays[0], training=False)
        return dict(zip(names.outputs, tf.nest.flatten(returned), strict=True))

    module = tf.Module()
    module.model = model
    module.serve = tf.function(serve, input_signature=takes)
    folder.parent.mkdir(parents=True, exist_ok=True)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})


def _name(tensor: Any, index: int, model: Any, attribute: str) -> str:
    """As Keras has it: by its list of names where it keeps one."""
    names = getattr(model, attribute, None)
    return str(names[index]) if names else str(tensor.name).partition(":")[0]


def _spec(name: str, tensor: Any) -> dict[str, Any]:
    dims = [None if dim is None else int(dim) for dim in tensor.shape]
    dtype = getattr(tensor.dtype, "name", tensor.dtype)
    return {"name": name, "dtype": dtype, "shape": [_BATCH, *dims[1:]] if dims else []}
