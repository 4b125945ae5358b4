"""The torchscript backend: what ``torch.jit.save`` wrote, with the semantics that Neuropod gave it.

The model is called with its inputs as keywords, or with one dict of them where that is all that it takes; text arrives
as a list of str. What it may return is told in ``torch_values.name_tensors``.
"""

from __future__ import annotations

import re
import zipfile
from typing import Any, Dict, List, Tuple

from isopod.ipc.errors import SpecError
from isopod.ipc.spec import TensorSpec
from isopod.opeworker.backends import Order, requires
from isopod.opeworker.backends.torch_values import as_declared, inference, name_tensors, prepare, to_torch_all

with requires("torch"):
    import torch

_UNKNOWN_OPERATOR = re.compile(r"(?:Unknown builtin op: |Couldn't find an operator for |unknown operator )([\w:.]+)")
_UNKNOWN_FORMAT = re.compile(r"version (\d+), but the maximum supported version for reading is (\d+)")
_DICT = "Dict["


def load(order: Order) -> TorchScript:
    order.check_version("torch", torch.__version__)
    order.take_options()
    order.refuse_arguments()
    device = prepare(order)
    try:
        module = torch.jit.load(order.path, map_location=device)
    except (RuntimeError, ValueError) as error:
        reason = _explained(order.path, str(error))
        if reason is None:
            raise
        raise SpecError(reason) from error
    return TorchScript(module.eval(), device, order)


class TorchScript:
    """A loaded script module. ``inputs`` are the parameters of its ``forward``; their dtypes it does not say."""

    def __init__(self, module: Any, device: Any, order: Order) -> None:
        self._module = module
        self._device = device
        self._on_cpu = frozenset(order.target.get("on_cpu") or ())
        self.inputs, self._takes_dict = _inputs(module.forward.schema)
        self.open = self._takes_dict
        declared = order.declared("outputs")
        self.outputs = as_declared(_outputs(module.forward.schema), declared)
        self._names = declared or self.outputs

    def __call__(self, inputs: Dict[str, Any]) -> Any:
        with inference():
            values = to_torch_all(inputs, self._device, self._on_cpu)
            returned = self._module(values) if self._takes_dict else self._module(**values)
            return name_tensors(returned, self._names)

    def close(self) -> None:
        pass


def _inputs(schema: Any) -> Tuple[List[TensorSpec], bool]:
    """(the parameters, whether it takes one dict of all inputs)."""
    parameters = schema.arguments[1:]  # without self
    if len(parameters) == 1 and parameters[0].type.annotation_str.startswith(_DICT):
        return [], True
    found = []
    for parameter in parameters:
        kind = parameter.type.annotation_str
        text = "List[str]" in kind
        found.append(
            TensorSpec(
                parameter.name, "text" if text else "", (None,) if text else None, not parameter.has_default_value()
            )
        )
    return found, False


def _outputs(schema: Any) -> List[TensorSpec]:
    kind = schema.returns[0].type if schema.returns else None
    if kind is None:
        return []
    if kind.annotation_str == "Tensor":
        return [TensorSpec("output")]
    return [TensorSpec("output", "text", (None,))] if kind.annotation_str == "List[str]" else []


def _explained(path: str, error: str) -> Any:
    """What is known beyond Torch's own words, or None."""
    here = f"torch {torch.__version__}"
    first = error.strip().splitlines()[0] if error.strip() else ""
    format_ = _UNKNOWN_FORMAT.search(error)
    if format_ is not None:
        return (
            f"{path} has the file format {format_[1]}, and {here} reads up to {format_[2]}: a newer Torch wrote it; "
            "load it in an environment with that one"
        )
    operator = _UNKNOWN_OPERATOR.search(error)
    if operator is not None:
        name = operator[1].rstrip(".")
        if name.startswith(("aten::", "prim::")):
            return f"{path} uses {name}, which {here} does not have: another version wrote it; load it in one with that"
        return (
            f"{path} uses the operation {name}, which nobody has registered; name its library: load(…, ops=['lib….so'])"
        )
    try:
        with zipfile.ZipFile(path):
            pass
    except (OSError, zipfile.BadZipFile):
        return f"{path} is not what torch.jit.save writes, or was cut short: {first}"
    return None
