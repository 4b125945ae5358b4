"""The backend of Neuropod's ``python`` platform, which its PyTorch packages use too.

Options: ``entrypoint_package`` is a module below the folder ``code``, and ``entrypoint`` a function in it. That is
called with the folder ``data``, and returns what is called with the inputs as keywords and answers with a dict. The
code's folder stands before the environment on the path, so modules of a package find one another by relative imports
and by name; packages whose modules have the same names are in processes of their own.
"""

from __future__ import annotations

import importlib
from typing import Any, Callable, Dict, List

from isopod.ipc.errors import SpecError
from isopod.ipc.spec import TensorSpec
from isopod.opeworker.backends import Order
from isopod.opeworker.threads import set_torch_threads

_OPTIONS = ("entrypoint_package", "entrypoint", "code", "data")


def load(order: Order) -> NeuropodPython:
    options = order.take_options(*_OPTIONS)
    order.refuse_arguments()
    missing = [name for name in _OPTIONS if not isinstance(options.get(name), str)]
    if missing:
        raise SpecError(f"a python package needs the options {', '.join(missing)}, as text")
    if order.ops:
        raise SpecError("a python package loads its own libraries; it has no custom operations")
    module = importlib.import_module(options["entrypoint_package"])
    try:
        entry = getattr(module, options["entrypoint"])
    except AttributeError:
        there = sorted(name for name, value in vars(module).items() if callable(value) and not name.startswith("_"))
        raise SpecError(
            f"there is no entry point {options['entrypoint']!r} in {options['entrypoint_package']}; "
            f"it has {', '.join(there) or 'nothing'}"
        ) from None
    set_torch_threads(order.threads)
    model = entry(options["data"])
    if not callable(model):
        raise SpecError(f"the entry point {options['entrypoint']!r} returned a {type(model).__name__}, not a callable")
    return NeuropodPython(model)


class NeuropodPython:
    """What an entry point returned. Which inputs it takes only its package says."""

    def __init__(self, model: Callable[..., Any]) -> None:
        self._model = model
        self.inputs: List[TensorSpec] = []
        self.outputs: List[TensorSpec] = []
        self.open = True

    def __call__(self, inputs: Dict[str, Any]) -> Any:
        return self._model(**inputs)

    def close(self) -> None:
        pass
