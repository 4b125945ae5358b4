"""Python packages as Neuropod has them: an entry point that is given the data's folder and returns the model.

``options``: ``entrypoint_package`` (``"some.module"``, in the folder ``code``), ``entrypoint`` (a function in it), and
``data``. The entry point is called with that folder, and what it returns with the inputs as keywords. The code is a
package of its own, so its modules import one another relatively; they find one another by name, too.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import types
from typing import Any, Callable, Dict

from isopod.ipc.errors import SpecError
from isopod.opeworker.backends import Order
from isopod.opeworker.threads import set_torch_threads

_PACKAGE = "isopod_pod"
_OPTIONS = ("entrypoint_package", "entrypoint", "code", "data")


def load(order: Order) -> NeuropodPython:
    """Import the entry point's module, and have it make the model."""
    options = order.take_options(*_OPTIONS)
    order.refuse_arguments()
    missing = [name for name in _OPTIONS if not isinstance(options.get(name), str)]
    if missing:
        raise SpecError("a python package needs the options {}, as text".format(", ".join(missing)))
    # operations in Python packages are extension modules: the package imports them by name
    sys.path[:0] = sorted({os.path.dirname(library) for library in order.ops})
    _make_package(options["code"])
    name, entrypoint = options["entrypoint_package"], options["entrypoint"]
    module = importlib.import_module(f"{_PACKAGE}.{name}")
    function = getattr(module, entrypoint, None)
    if not callable(function):
        there = sorted(name for name, value in vars(module).items() if callable(value) and not name.startswith("_"))
        raise SpecError(
            "the entry point {}.{} is not there; the module has {}".format(
                name, entrypoint, ", ".join(there) or "nothing"
            )
        )
    order.imported()
    set_torch_threads(order.threads)
    model = function(options["data"])
    if not callable(model):
        raise SpecError(f"the entry point {name}.{entrypoint} returned a {type(model).__name__}, no model")
    return NeuropodPython(model, order)


class NeuropodPython:
    """What the entry point returned. Which inputs it takes only its package says."""

    def __init__(self, model: Callable[..., Any], order: Order) -> None:
        self._model = model
        self.inputs = order.declared("inputs")
        self.outputs = order.declared("outputs")
        self.open = order.target.get("inputs") is None

    def __call__(self, inputs: Dict[str, Any]) -> Any:
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
