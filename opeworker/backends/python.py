"""The python backend: a plain function or class, from a file or from a module of the environment.

A function is called with the inputs as keywords. A class is made once with the load arguments, its instances are called
with the inputs, and ``close()``, if there is one, is called at the end. What it returns is a dict of values by name, a
tuple (``output_0``, ``output_1``, or the names of a named tuple) or a single value (``output``).
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from typing import Any, Callable

from isopod.ipc.errors import SpecError
from isopod.ipc.spec import TensorSpec
from isopod.opeworker.backends import Order
from isopod.opeworker.threads import set_torch_threads


def load(order: Order) -> PythonModel:
    """Import the file or module, find the callable in it, and make it."""
    return PythonModel(make_callable(order), str(order.target["attribute"]))


def make_callable(order: Order) -> Callable[..., Any]:
    """The function that a target names, or an instance of the class. Raises ``SpecError``, or what the file raises."""
    attribute = str(order.target["attribute"])
    module = _import(str(order.target.get("file") or ""), str(order.target.get("module") or ""))
    order.imported()
    set_torch_threads(order.threads)
    return _make(_find(module, attribute), attribute, order.arguments)


class PythonModel:
    """A loaded callable with its signature."""

    def __init__(self, function: Callable[..., Any], attribute: str) -> None:
        self._callable = function
        self.inputs, self.open = signature_of(function, attribute)
        self.outputs: list[TensorSpec] = []

    def __call__(self, inputs: dict[str, Any]) -> Any:
        return self._callable(**inputs)

    def close(self) -> None:
        close = getattr(self._callable, "close", None)
        if callable(close) and not inspect.isfunction(self._callable):
            close()


def _import(path: str, module: str) -> Any:
    if not path:
        return importlib.import_module(module)
    name = os.path.splitext(os.path.basename(path))[0]
    if name in sys.modules or not name.isidentifier() or _is_elsewhere(name, path):
        name = "isopod_model_" + "".join(c if c.isalnum() else "_" for c in name)  # json.py must not become `json`
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SpecError(f"{path} is not a Python file")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def _is_elsewhere(name: str, path: str) -> bool:
    """Whether ``import name`` means another file than this one: the standard library comes before a model's folder."""
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin != path


def _find(module: Any, attribute: str) -> Any:
    found = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            members = getattr(found, "__dict__", {})
            names = sorted(n for n, v in members.items() if callable(v) and not n.startswith("_"))
            raise SpecError(
                "there is no {!r} in it; it has {}".format(attribute, ", ".join(names) or "nothing")
            ) from None
    if not callable(found):
        raise SpecError(f"{attribute!r} is a {type(found).__name__}, not a function or a class")
    return found


def _make(found: Any, attribute: str, arguments: dict[str, Any]) -> Callable[..., Any]:
    if not inspect.isclass(found):
        if arguments:
            raise SpecError(
                "{!r} is a function, so it takes no load arguments ({})".format(attribute, ", ".join(arguments))
            )
        return found  # type: ignore[no-any-return]
    try:
        inspect.signature(found).bind(**arguments)
    except ValueError:
        pass  # a builtin without a signature: it is tried
    except TypeError as error:
        raise SpecError(f"the load arguments do not fit {attribute}: {error}") from None
    instance = found(**arguments)
    if not callable(instance):
        raise SpecError(f"{attribute!r} has no __call__ method, so its instances cannot be called")
    return instance


def signature_of(function: Callable[..., Any], attribute: str) -> tuple[list[TensorSpec], bool]:
    """Names of the inputs, whether each is required, and whether any other name is welcome."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return [], True  # a builtin without a signature: whatever is sent is tried
    inputs = []
    for parameter in parameters:
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise SpecError(f"{attribute!r} takes {parameter.name!r} by position only; inputs are keywords")
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            inputs.append(TensorSpec(parameter.name, required=parameter.default is parameter.empty))
    return inputs, any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
