"""The tensorflow backend: a SavedModel, called by one of its signatures, or a frozen graph (.pb).

TensorFlow 2 calls a SavedModel's signature as a function; a frozen graph, and everything in TensorFlow 1.15, runs in a
session (``tensorflow_graph``). Options of a SavedModel: ``signature`` (``"serving_default"``) and ``tags``
(``["serve"]``). Those of a frozen graph are Neuropod's: ``node_name_mapping``, names of inputs and outputs and the
nodes behind them (``"x": "scope/x:0"``, without ``:0`` too), and ``init_op_names``, operations to run once. Without a
mapping a graph's inputs are its placeholders, and its outputs the nodes whose values nothing else takes.
"""

from __future__ import annotations

import os
from typing import Any, Dict

from isopod.ipc.errors import SpecError
from isopod.opeworker.backends import Order, requires
from isopod.opeworker.backends import tensorflow_graph as graphs
from isopod.opeworker.backends import tensorflow_values as values

with requires("tensorflow"):
    import tensorflow as tf


def load(order: Order) -> Any:
    order.check_version("tensorflow", tf.__version__)
    order.refuse_arguments()
    saved_model = os.path.isdir(order.path)
    known = ("signature", "tags") if saved_model else ("node_name_mapping", "init_op_names")
    options = order.take_options(*known)
    values.prepare(order)
    if not saved_model:
        return graphs.frozen(order, options)
    signature = options.get("signature", "serving_default")
    tags = list(options.get("tags", ["serve"]))
    if not values.EAGER:
        return graphs.saved_model(order, signature, tags)
    try:
        model = tf.saved_model.load(order.path, tags=tags)
    except Exception as error:  # goes to the caller of load(), with what the file says of its origin
        raise SpecError(graphs.explained_saved_model(order.path, error)) from error
    values.need_names("signature", list(model.signatures), signature)
    return Signature(model, signature)


class Signature:
    """One signature of a SavedModel in TensorFlow 2."""

    open = False

    def __init__(self, model: Any, signature: str) -> None:
        self._model = model  # its variables live as long as it does
        self._function = model.signatures[signature]
        self._given = self._function.structured_input_signature[1]
        self.inputs = [values.spec_of(name, spec.dtype, spec.shape) for name, spec in sorted(self._given.items())]
        returned = self._function.structured_outputs
        self.outputs = [values.spec_of(name, spec.dtype, spec.shape) for name, spec in sorted(returned.items())]

    def __call__(self, inputs: Dict[str, Any]) -> Any:
        tensors = {name: values.to_tensor(value, self._given[name].dtype) for name, value in inputs.items()}
        returned = self._function(**tensors)
        return {name: values.to_array(name, value) for name, value in returned.items()}

    def close(self) -> None:
        pass
