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
import time
from collections.abc import Mapping
from typing import Any, Callable, Sequence

from isopod.ipc.errors import SpecError


class PythonModel:
    """A loaded callable with its signature."""

    def __init__(self, target: dict[str, Any], arguments: dict[str, Any], threads: Sequence[int] = ()) -> None:
        attribute = str(target["attribute"])
        module = _import(str(target.get("file") or ""), str(target.get("module") or ""))
        self.imported_ns = time.monotonic_ns()  # what follows is the constructor's time
        set_torch_threads(threads)
        self._callable = _make(_find(module, attribute), attribute, arguments)
        self.inputs, self.open = _signature(self._callable, attribute)
        self.outputs: list[dict[str, Any]] = []

    def __call__(self, inputs: dict[str, Any]) -> Any:
        return self._callable(**inputs)

    def close(self) -> None:
        close = getattr(self._callable, "close", None)
        if callable(close) and not inspect.isfunction(self._callable):
            close()


def name_outputs(returned: Any) -> dict[str, Any]:
    """What a model returned, as values by name. Raises ``SpecError`` for what has no name, saying what to return."""
    if isinstance(returned, (dict, Mapping)):  # the first is the usual one, and the quick one to see
        for name in returned:
            if not isinstance(name, str):
                raise SpecError(f"the model returned a dict with the key {name!r}; output names are str")
        return dict(returned)
    if isinstance(returned, tuple):
        fields = getattr(returned, "_fields", None) or [f"output_{index}" for index in range(len(returned))]
        return dict(zip(fields, returned))
    if returned is None:
        raise SpecError("the model returned None; return a dict of arrays, an array or a tuple of arrays")
    return {"output": returned}


def set_torch_threads(threads: Sequence[int]) -> None:
    """Torch's threads within an operation and between operations, where the model's file has imported it.

    The first have a variable in the environment, which a model's file may have overridden; the second have none, and
    can be set only until Torch has used them.
    """
    torch = sys.modules.get("torch")
    if torch is None or not threads:
        return
    torch.set_num_threads(threads[0])
    try:
        torch.set_num_interop_threads(threads[1])
    except RuntimeError:
        return  # the model's file has computed something already: what it chose stays


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


def _signature(function: Callable[..., Any], attribute: str) -> tuple[list[dict[str, Any]], bool]:
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
            inputs.append({"name": parameter.name, "required": parameter.default is parameter.empty})
    return inputs, any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
