"""The pytorch backend: a callable in a Python file that gets tensors, or a program that ``torch.export`` saved (.pt2).

A callable is found as the python backend finds one. Its inputs arrive as tensors on the model's device, in inference
mode; a module is moved there and set to evaluation first. What it may return is told in ``torch_values.name_tensors``.
A program has its inputs and outputs with dtypes and shapes; dims that it left open are symbols.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List

from isopod.ipc.errors import SpecError
from isopod.ipc.spec import TensorSpec
from isopod.opeworker.backends import Order, python, requires
from isopod.opeworker.backends.torch_values import (
    as_declared,
    dtype_name,
    inference,
    name_tensors,
    outputs_of_structure,
    prepare,
    to_torch_all,
)

with requires("torch"):
    import torch


def load(order: Order) -> Any:
    order.check_version("torch", torch.__version__)
    order.take_options()
    device = prepare(order)
    if not order.target.get("path"):
        with inference():
            found = python.make_callable(order)
        return Eager(found, device, order)
    order.refuse_arguments()
    if not hasattr(torch, "export"):
        raise SpecError(
            f"{order.path} needs torch.export, which torch {torch.__version__} does not have; use 2.1 or later"
        )
    return Program(_program(order.path), device, order)


class Eager:
    """A callable that gets tensors by keyword."""

    def __init__(self, function: Callable[..., Any], device: Any, order: Order) -> None:
        self._function = function
        self._device = device
        inner = function
        if isinstance(function, torch.nn.Module):
            function.eval().to(device)
            inner = function.forward
        self.inputs, self.open = python.signature_of(inner, str(order.target["attribute"]))
        self.outputs: List[TensorSpec] = []
        self._names = order.declared("outputs")

    def __call__(self, inputs: Dict[str, Any]) -> Any:
        with inference():
            return name_tensors(self._function(**to_torch_all(inputs, self._device)), self._names)

    def close(self) -> None:
        close = getattr(self._function, "close", None)
        if callable(close):
            close()


class Program:
    """A program of ``torch.export``. Nested inputs are flat, called as the program calls them (``x_0``, ``x_1``)."""

    open = False

    def __init__(self, program: Any, device: Any, order: Order) -> None:
        from torch.utils import _pytree

        values = {node.name: node.meta.get("val") for node in program.graph.nodes}
        given = [spec.arg for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
        self._leaves = [(arg.name, getattr(arg, "value", None)) for arg in given]
        self._fixed = {arg.name for arg in given if type(arg).__name__ == "ConstantArgument"}
        self.inputs = [_spec(arg.name, values.get(arg.name)) for arg in given if arg.name not in self._fixed]
        self._shape_of_call = program.call_spec.in_spec
        self._unflatten = _pytree.tree_unflatten
        returned = [spec.arg for spec in program.graph_signature.output_specs if spec.kind.name == "USER_OUTPUT"]
        specs = [_spec("", values.get(getattr(arg, "name", ""))) for arg in returned]
        own = outputs_of_structure(self._unflatten(specs, program.call_spec.out_spec))
        self.outputs = as_declared(own, order.declared("outputs"))
        self._device = device
        module = program.module()
        self._module = module if device.type == "cpu" else module.to(device)

    def __call__(self, inputs: Dict[str, Any]) -> Any:
        with inference():
            tensors = to_torch_all(inputs, self._device)
            leaves = [fixed if name in self._fixed else tensors[name] for name, fixed in self._leaves]
            args, kwargs = self._unflatten(leaves, self._shape_of_call)
            returned = self._module(*args, **kwargs)
            if isinstance(returned, list):
                returned = tuple(returned)
            return name_tensors(returned, self.outputs)

    def close(self) -> None:
        pass


def _program(path: str) -> Any:
    try:
        return torch.export.load(path)
    except OSError:
        raise  # of the machine, not of the file: a strict sandbox without scratch, where it unpacks the file
    except Exception as error:  # goes to the caller of load(), with what is known beyond Torch's words
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise SpecError(
            f"{path} cannot be read by torch {torch.__version__} ({first}): such files are read by the Torch that "
            "wrote them and by few others; load it in an environment with that one"
        ) from error


def _spec(name: str, value: Any) -> TensorSpec:
    """Of what the program says of a value: a tensor without memory, or a number."""
    if not isinstance(value, torch.Tensor):
        return TensorSpec(name)
    shape = tuple(dim if isinstance(dim, int) else str(dim) for dim in value.shape)
    return TensorSpec(name, dtype_name(value.dtype), shape)
