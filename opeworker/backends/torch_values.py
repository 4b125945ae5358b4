"""Between arrays and Torch's values, for both backends of Torch.

In: a number's array becomes a tensor over the same memory; only one that may not be written is copied, for Torch cannot
flag a tensor as read-only. Text becomes a list of str. Out: a tensor on the processor becomes an array over its memory,
which the outbox copies once; one on a GPU is copied from there straight into the outbox. bfloat16 and float8, which
numpy does not have, are looked at as integers of their size on the way.
"""

from __future__ import annotations

from typing import Any, Dict, FrozenSet, List, Sequence

import numpy as np

from isopod.ipc import tensor as wire
from isopod.ipc.errors import SpecError
from isopod.ipc.spec import TensorSpec
from isopod.opeworker import context, devices
from isopod.opeworker.backends import Order, requires
from isopod.opeworker.failure import BadValue
from isopod.opeworker.ops import Ops
from isopod.opeworker.threads import set_torch_threads

with requires("torch"):
    import torch

_CPU = torch.device("cpu")
# What numpy does not have: the name, and the integer that it is looked at as. Older Torches lack some of them.
_EXTENDED = {
    getattr(torch, name): (code, torch.int16 if name == "bfloat16" else torch.uint8)
    for code, name in wire.EXTENDED.items()
    if hasattr(torch, name)
}
_BY_NAME = {wire.EXTENDED[code]: kind for kind, (code, _) in _EXTENDED.items()}


def prepare(order: Order) -> torch.device:
    """Custom operations, threads and the device of an order. Raises ``SpecError``."""
    set_torch_threads(order.threads)
    version = f"torch {torch.__version__}"
    Ops(version, bool(getattr(torch._C, "_GLIBCXX_USE_CXX11_ABI", True))).load(order.ops, torch.ops.load_library)
    if order.device.startswith("cuda") and not torch.cuda.is_available():
        there = "the processor" if torch.version.cuda is None else f"CUDA {torch.version.cuda} that does not work here"
        raise devices.lacking(order.device, version, there)
    return torch.device(order.device or "cpu")


def inference() -> Any:
    """The mode in which a model is called: no gradients, and no bookkeeping for them."""
    return torch.inference_mode() if hasattr(torch, "inference_mode") else torch.no_grad()


def to_torch(name: str, value: Any, device: torch.device) -> Any:
    """A tensor, a list of str, or a plain value as it is. Raises ``BadValue`` for text of two dimensions or more."""
    if not isinstance(value, np.ndarray):
        return value
    kind = value.dtype.kind
    if kind in "OUT":
        if value.ndim != 1:
            reason = f"input {name}: Torch has lists of text, so it must have one dimension, not {value.ndim}"
            raise BadValue(SpecError(reason), "input")
        return value.tolist()
    if not value.flags.writeable:
        value = value.copy()
        context.note_copy(value.nbytes)
    extended = _BY_NAME.get(value.dtype.name)
    if extended is None:
        found = torch.from_numpy(value)
    else:
        plain = np.int16 if value.dtype.itemsize == 2 else np.uint8
        found = torch.from_numpy(value.view(plain)).view(extended)
    return found if device.type == "cpu" else found.to(device, non_blocking=True)


def to_torch_all(inputs: Dict[str, Any], device: torch.device, on_cpu: FrozenSet[str] = frozenset()) -> Dict[str, Any]:
    """All of them on the ``device``, but those that the model wants ``on_cpu`` wherever it runs itself."""
    return {name: to_torch(name, value, _CPU if name in on_cpu else device) for name, value in inputs.items()}


def from_torch(value: Any) -> Any:
    """What can cross of a value that was returned: a tensor as an array, a list of str as an array, others as is."""
    if isinstance(value, torch.Tensor):
        return _array(value)
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        array = np.empty(len(value), dtype=object)
        array[:] = value
        return array
    return value


def name_tensors(returned: Any, outputs: Sequence[TensorSpec]) -> Dict[str, Any]:
    """Values by name, of all that a Torch model may return.

    A dict; one tensor or list, which is called ``output``, or as the one output that is declared; a named tuple; a
    tuple of dicts, which may not have a name in common; another tuple, called ``output_0`` and so on, or as declared.
    """
    if isinstance(returned, dict):
        return {name: from_torch(value) for name, value in returned.items()}
    if not isinstance(returned, tuple):
        return {outputs[0].name if len(outputs) == 1 else "output": from_torch(returned)}
    if returned and all(isinstance(part, dict) for part in returned):
        return {name: from_torch(value) for name, value in _merged(returned).items()}
    names = getattr(returned, "_fields", None)
    if names is None and len(outputs) == len(returned):
        names = [spec.name for spec in outputs]
    names = names or [f"output_{number}" for number in range(len(returned))]
    return {name: from_torch(value) for name, value in zip(names, returned)}


def as_declared(own: List[TensorSpec], declared: Sequence[TensorSpec]) -> List[TensorSpec]:
    """What a model says of its outputs; a single one without a name of its own is called as its package calls it."""
    if len(declared) == 1 and len(own) == 1 and own[0].name == "output":
        return [own[0]._replace(name=declared[0].name)]
    return own


def _merged(parts: Sequence[Dict[str, Any]]) -> Dict[str, Any]:
    merged: Dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            if name in merged:
                raise BadValue(SpecError(f"two of the dicts that it returned have an output {name!r}"), "output")
            merged[name] = value
    return merged


def dtype_name(kind: Any) -> str:
    """As in ``TensorSpec``; empty for what cannot cross (quantised, complex of half precision)."""
    name = str(kind).rpartition(".")[2]
    return name if name in _NAMES else ""


_NAMES = frozenset([*wire.NUMERIC.values(), *wire.EXTENDED.values()])


def _array(value: Any) -> Any:
    value = value.detach()
    extended = _EXTENDED.get(value.dtype)
    dtype = None
    if extended is not None:
        dtype = wire.dtype_of(extended[0])
        value = value.contiguous().view(extended[1])
    if value.device.type == "cpu":
        value = value.to_dense() if value.layout != torch.strided else value
        array = (value.resolve_conj().resolve_neg() if hasattr(value, "resolve_neg") else value).numpy()
    else:
        array = _from_device(value)
    return array if dtype is None else array.view(dtype)


def _from_device(value: Any) -> Any:
    """Straight into the outbox: what is on a GPU is copied once in any case."""
    kind = str(value.dtype).rpartition(".")[2]
    array = context.empty(tuple(value.shape), kind)
    torch.from_numpy(array).copy_(value)
    return array


def outputs_of_structure(structure: Any) -> List[TensorSpec]:
    """Specs in the structure in which a model returns its values, under the names that these get."""
    if isinstance(structure, TensorSpec):
        return [structure._replace(name="output")]
    if isinstance(structure, dict):
        return [spec._replace(name=name) for name, spec in structure.items() if isinstance(spec, TensorSpec)]
    if isinstance(structure, (tuple, list)):
        names = getattr(structure, "_fields", None) or [f"output_{number}" for number in range(len(structure))]
        return [spec._replace(name=name) for name, spec in zip(names, structure) if isinstance(spec, TensorSpec)]
    return []
