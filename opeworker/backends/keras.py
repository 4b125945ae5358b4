"""The keras backend: a whole model in a file of Keras 3 or Keras 2 (.keras), or of HDF5 (.h5).

Inputs and outputs are called as the model's layers are, or as the keys of the dict that it was built with. Copies are
those of TensorFlow (``tensorflow_values``); on another backend of Keras 3 inputs are copied as that one does. Layers of
the model's own are made known by Python files, which register them (``keras.saving.register_keras_serializable``): the
option ``imports`` lists them. ``safe_mode=False`` is Keras's own option.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Any, Dict, List, Tuple

import numpy as np

from isopod.ipc import tensor as wire
from isopod.ipc.errors import SpecError
from isopod.ipc.spec import TensorSpec
from isopod.opeworker import devices
from isopod.opeworker.backends import Order, requires
from isopod.opeworker.threads import set_torch_threads

_NAMES = frozenset([*wire.NUMERIC.values(), *wire.EXTENDED.values()])


def load(order: Order) -> Keras:
    order.refuse_arguments()
    options = order.take_options("imports", "safe_mode")
    keras, number = _keras()
    order.check_version("keras", number)
    on_tensorflow = getattr(keras.backend, "backend", lambda: "tensorflow")() == "tensorflow"
    version = f"Keras {number}"
    in_session = False
    if on_tensorflow:
        from isopod.opeworker.backends import tensorflow_values

        tensorflow_values.prepare(order)
        in_session = not tensorflow_values.EAGER
        version = f"{version} of {tensorflow_values.VERSION}"
    else:
        name = keras.backend.backend()
        if order.ops:
            raise SpecError(f"custom operations are for TensorFlow, and Keras runs on {name} here")
        if order.device.startswith("cuda"):
            raise devices.lacking(order.device, f"Keras on {name}", "what KERAS_BACKEND gives it")
        set_torch_threads(order.threads)
    for path in options.get("imports") or ():
        _import(str(path))
    keywords = {"compile": False}
    if "safe_mode" in options:
        keywords["safe_mode"] = bool(options["safe_mode"])
    try:
        model = keras.models.load_model(order.path, **keywords)
    except (OSError, ValueError) as error:
        raise SpecError(_explained(order.path, error, version)) from error
    return Keras(model, on_tensorflow, in_session)


class Keras:
    """A loaded model, called in inference mode."""

    open = False

    def __init__(self, model: Any, on_tensorflow: bool, in_session: bool) -> None:
        self._model = model
        self._in_session = in_session  # of TensorFlow 1
        given, returned = model.inputs, model.outputs
        if not given or not returned:
            raise SpecError(
                "the model was never built, so it does not say what it takes; call it once before it is saved"
            )
        self.inputs = [_spec(name, tensor) for name, tensor in zip(_names(model, "input"), given)]
        self.outputs = [_spec(name, tensor) for name, tensor in zip(_names(model, "output"), returned)]
        self._structure = getattr(model, "_inputs_struct", None)
        self._on_tensorflow = on_tensorflow

    def __call__(self, inputs: Dict[str, Any]) -> Any:
        given = [inputs[spec.name] for spec in self.inputs]
        if self._in_session:
            returned = self._model.predict_on_batch(given)
            return dict(zip([spec.name for spec in self.outputs], self._flat(returned)))
        tensors = list(map(self._tensor, given))
        returned = self._model(self._as_called(tensors), training=False)
        return dict(zip([spec.name for spec in self.outputs], map(self._array, self.outputs, self._flat(returned))))

    def close(self) -> None:
        pass

    def _as_called(self, tensors: List[Any]) -> Any:
        """One tensor, a list, or the dict that the model was built with."""
        if isinstance(self._structure, dict):
            return {name: tensors[number] for number, name in enumerate(sorted(self._structure))}
        return tensors[0] if len(tensors) == 1 and not isinstance(self._structure, list) else tensors

    def _flat(self, returned: Any) -> List[Any]:
        if isinstance(returned, dict):
            return [returned[name] for name in sorted(returned)]
        return list(returned) if isinstance(returned, (list, tuple)) else [returned]

    def _tensor(self, value: Any) -> Any:
        if not self._on_tensorflow:
            return np.asarray(value)
        from isopod.opeworker.backends import tensorflow_values

        return tensorflow_values.to_tensor(value)

    def _array(self, spec: TensorSpec, value: Any) -> Any:
        if not self._on_tensorflow:
            return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
        from isopod.opeworker.backends import tensorflow_values

        return tensorflow_values.to_array(spec.name, value)


def _keras() -> Tuple[Any, str]:
    """Keras 3 where it is there, else the Keras that is a part of TensorFlow; and its version."""
    _without_unreadable_settings()
    version = ""
    try:
        import keras

        version = str(keras.__version__)
        if int(version.partition(".")[0]) >= 3:
            return keras, version
    except ModuleNotFoundError as error:
        if error.name != "keras":
            raise
    with requires("keras", "tensorflow"):
        from tensorflow import keras as of_tensorflow
    return of_tensorflow, version or str(of_tensorflow.__version__)  # the name is not in it where it has a package


def _without_unreadable_settings() -> None:
    """Keras does not load where its user's settings are there and may not be read, as in a strict sandbox."""
    try:
        with open(os.path.join(os.path.expanduser("~"), ".keras", "keras.json"), "rb"):
            pass
    except FileNotFoundError:
        pass
    except OSError:
        os.environ.setdefault("KERAS_HOME", os.path.join(os.devnull, "keras"))  # where nothing can be


def _names(model: Any, side: str) -> List[str]:
    """Those of its layers; a dict of inputs or outputs has its own, sorted as Keras sorts them."""
    structure = getattr(model, f"_{side}s_struct", None)
    if isinstance(structure, dict):
        return sorted(structure)
    names = getattr(model, f"{side}_names", None)
    if names:
        return list(names)
    tensors = model.inputs if side == "input" else model.outputs
    layers = [getattr(getattr(tensor, "_keras_history", None), "operation", None) for tensor in tensors]
    found = [layer.name if layer is not None else tensor.name for layer, tensor in zip(layers, tensors)]
    return found if len(set(found)) == len(found) else [f"{side}_{number}" for number in range(len(found))]


def _spec(name: str, tensor: Any) -> TensorSpec:
    kind = getattr(tensor.dtype, "name", str(tensor.dtype))
    kind = "text" if kind == "string" else kind if kind in _NAMES else ""
    shape = tuple(_size(dim) for dim in tuple(tensor.shape))
    return TensorSpec(name, kind, shape)


def _size(dim: Any) -> Any:
    size = getattr(dim, "value", dim)  # TensorFlow 1 wraps it
    return None if size is None else int(size)


def _import(path: str) -> None:
    if not os.path.isfile(path):
        raise SpecError(f"there is no file {path}, which the option 'imports' names")
    name = "isopod_keras_" + "".join(c if c.isalnum() else "_" for c in os.path.basename(path))
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SpecError(f"{path} is not a Python file")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def _explained(path: str, error: Exception, version: str) -> str:
    text = str(error).strip()
    if "No model config found" in text or "No model found in config file" in text:
        return f"{path} holds weights and no model; save all of it: model.save('….keras')"
    return f"{path} cannot be loaded by {version}: {text}"
