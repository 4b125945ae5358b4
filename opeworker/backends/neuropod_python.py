"""Python packages as Neuropod has them: an entry point that is given the data's folder and returns the model.

``options``: ``entrypoint_package`` (``"some.module"``, in the folder ``code``), ``entrypoint`` (a function in it), and
``data``. The entry point is called with that folder, and what it returns with the inputs as keywords. The code is a
package of its own, so its modules import one another relatively; by their absolute names they are found, too, after
everything that the environment has.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import types
from typing import Any, Callable

from isopod.ipc.errors import SpecError
from isopod.ipc.spec import TensorSpec
from isopod.opeworker.backends import Order
from isopod.opeworker.threads import set_torch_threads

_PACKAGE = "isopod_pod"


def load(order: Order) -> NeuropodPythonModel:
    """Import the entry point's module, and have it make the model."""
    target, options = order.target, order.target["options"]
    if order.arguments:
        raise SpecError("a pod takes no load arguments ({})".format(", ".join(order.arguments)))
    code = str(options["code"])
    # operations in Python packages are extension modules: the package imports them by name
    sys.path[:0] = sorted({os.path.dirname(library) for library in target["ops"]})
    sys.path.append(code)
    _make_package(code)
    name = str(options["entrypoint_package"])
    module = importlib.import_module(f"{_PACKAGE}.{name}")
    entrypoint = getattr(module, str(options["entrypoint"]), None)
    if not callable(entrypoint):
        raise SpecError("the entry point {}.{} is not there, or is no function".format(name, options["entrypoint"]))
    model = entrypoint(str(options["data"]))
    if not callable(model):
        raise SpecError(f"the entry point {name}.{options['entrypoint']} returned a {type(model).__name__}, no model")
    set_torch_threads(order.threads)
    return NeuropodPythonModel(model, target)


class NeuropodPythonModel:
    """What the entry point returned, with what the package declares."""

    def __init__(self, model: Callable[..., Any], target: dict[str, Any]) -> None:
        self._model = model
        self.inputs = [TensorSpec.of(item) for item in target["inputs"] or []]
        self.outputs = [TensorSpec.of(item) for item in target["outputs"] or []]
        self.open = target["inputs"] is None

    def __call__(self, inputs: dict[str, Any]) -> Any:
        return self._model(**inputs)

    def close(self) -> None:
        close = getattr(self._model, "close", None)
        if callable(close) and not isinstance(self._model, types.FunctionType):
            close()


def _make_package(code: str) -> None:
    """A package over the folder of the code, under a name that is nobody else's; its ``__init__.py`` runs if there."""
    init = os.path.join(code, "__init__.py")
    spec: Any
    if os.path.isfile(init):
        spec = importlib.util.spec_from_file_location(_PACKAGE, init, submodule_search_locations=[code])
        package = importlib.util.module_from_spec(spec)
        sys.modules[_PACKAGE] = package
        spec.loader.exec_module(package)
        return
    package = types.ModuleType(_PACKAGE)
    package.__path__ = [code]
    sys.modules[_PACKAGE] = package
