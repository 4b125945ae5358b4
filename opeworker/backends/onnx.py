"""The onnx backend: ONNX files, run by ONNX Runtime.

Inputs are read where they lie, whatever their alignment. Outputs whose shapes follow from the model and the call's
inputs are computed straight into the outbox, and cross without a copy; others, and text, are copied once. An output's
shape may turn out to be another one than the model says: then this call is computed again, and from then on outputs of
this model are copied. An output that is a list of maps, as converters of classifiers make one (ZipMap), crosses as
plain values, its keys as text, and is refused where there are too many of them. https://onnxruntime.ai/docs/api/python/api_summary.html
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from isopod.ipc import layout
from isopod.ipc import tensor as wire
from isopod.ipc.errors import SpecError
from isopod.ipc.spec import TensorSpec
from isopod.opeworker import context, devices
from isopod.opeworker.backends import Order, requires
from isopod.opeworker.failure import BadValue
from isopod.opeworker.ops import Ops

with requires("onnxruntime"):
    import onnxruntime

# What ONNX Runtime calls the types of tensors. For those that numpy does not have, their numbers in onnx.proto.
_DTYPES = {
    "tensor(bool)": "bool", "tensor(int8)": "int8", "tensor(int16)": "int16", "tensor(int32)": "int32",
    "tensor(int64)": "int64", "tensor(uint8)": "uint8", "tensor(uint16)": "uint16", "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64", "tensor(float16)": "float16", "tensor(float)": "float32", "tensor(double)": "float64",
    "tensor(complex64)": "complex64", "tensor(complex128)": "complex128", "tensor(string)": "text",
    "tensor(bfloat16)": "bfloat16", "tensor(float8e4m3fn)": "float8_e4m3fn", "tensor(float8e5m2)": "float8_e5m2",
    "tensor(float8e4m3fnuz)": "float8_e4m3fnuz", "tensor(float8e5m2fnuz)": "float8_e5m2fnuz",
}  # fmt: skip
_NUMBERS = {"bfloat16": 16, "float8_e4m3fn": 17, "float8_e4m3fnuz": 18, "float8_e5m2": 19, "float8_e5m2fnuz": 20}
_OPTIONS = ("providers",)
_NUMBER = 14  # bytes of one in a map, with what stands before it and its key (``ipc.plain``)
_NEWER = re.compile(
    r"[Uu]nsupported model IR version: \d+, max supported IR version: \d+|Opset \d+ is under development|"
    r"Current official support for domain \S+ is till opset \d+"
)

_UNKNOWN = re.compile(r"(\S+) is not a registered function/op|No Op registered for (\S+)")


def load(order: Order) -> Onnx:
    order.check_version("onnxruntime", onnxruntime.__version__)
    options = order.take_options(*_OPTIONS)
    order.refuse_arguments()
    settings = onnxruntime.SessionOptions()
    if order.threads:
        settings.intra_op_num_threads, settings.inter_op_num_threads = order.threads
    version = f"onnxruntime {onnxruntime.__version__}"
    Ops(version).load(order.ops, settings.register_custom_ops_library)
    providers = _providers(order.device, options.get("providers"), version)
    try:
        session = onnxruntime.InferenceSession(order.path, settings, providers=providers)
    except Exception as error:  # goes to the caller of load(): as ours where more is known than its words
        raise SpecError(_explained(order.path, str(error), version)) from error
    if order.device.startswith("cuda") and "CUDAExecutionProvider" not in session.get_providers():
        raise devices.lacking(order.device, version, "the processor: its CUDA provider did not start")
    session.disable_fallback()
    return Onnx(session)


class Onnx:
    """A session, called with as few copies as it allows."""

    open = False

    def __init__(self, session: Any) -> None:
        self._session = session
        self.inputs = [_spec(node) for node in session.get_inputs()]
        defaults = session.get_overridable_initializers()
        self.inputs += [_spec(node)._replace(required=False) for node in defaults]
        self.outputs = [_spec(node) for node in session.get_outputs()]
        self._names = [spec.name for spec in self.outputs]
        self._shapes = {spec.name: spec.shape for spec in self.inputs}
        numeric = all(spec.dtype not in ("", "text") for spec in [*self.inputs, *self.outputs])
        # Shapes of outputs that are known beforehand are the condition, and so are the dtypes that have a number.
        self._bindable = numeric and all(spec.shape is not None and None not in spec.shape for spec in self.outputs)
        self._extended = any(spec.dtype in _NUMBERS for spec in [*self.inputs, *self.outputs])

    def __call__(self, inputs: Dict[str, Any]) -> Any:
        if self._bindable and all(map(_is_numeric, inputs.values())):
            shapes = self._output_shapes(inputs)
            if shapes is not None:
                try:
                    return self._bound(inputs, shapes)
                except Exception as error:  # of a wrong shape the plain run has the answer; others go to the caller
                    if not self._extended and "shape verification failed" in str(error):
                        answer = self._plain(inputs)
                        self._bindable = False
                        return answer
                    raise
        return self._plain(inputs)

    def close(self) -> None:
        pass

    def _plain(self, inputs: Dict[str, Any]) -> Dict[str, Any]:
        values = {name: np.asarray(value) for name, value in inputs.items()}
        returned = self._session.run(self._names, values)
        return {name: _plain(name, value) for name, value in zip(self._names, returned)}

    def _output_shapes(self, inputs: Dict[str, Any]) -> Optional[List[Tuple[int, ...]]]:
        """The outputs' shapes, as far as those of the inputs say them; None where a symbol stays open."""
        sizes: Dict[str, int] = {}
        for name, value in inputs.items():
            said = self._shapes.get(name)
            shape = np.shape(value)
            if said is None or len(said) != len(shape):
                return None
            sizes.update((dim, size) for dim, size in zip(said, shape) if isinstance(dim, str))
        try:
            return [
                tuple(sizes[dim] if isinstance(dim, str) else int(dim or 0) for dim in spec.shape or ())
                for spec in self.outputs
            ]
        except KeyError:
            return None

    def _bound(self, inputs: Dict[str, Any], shapes: List[Tuple[int, ...]]) -> Dict[str, Any]:
        binding = self._session.io_binding()
        kept, outputs = [], {}
        for name, value in inputs.items():
            array = np.asarray(value, order="C")
            kept.append(array)
            _bind(binding.bind_input, name, array)
        for spec, shape in zip(self.outputs, shapes):
            outputs[spec.name] = array = context.empty(shape, _dtype(spec.dtype))
            _bind(binding.bind_output, spec.name, array)
        self._session.run_with_iobinding(binding)
        return outputs


def _plain(name: str, value: Any) -> Any:
    """Maps with keys that can be sent; anything else as it is. Raises ``BadValue`` for too many of them."""
    maps = value if isinstance(value, list) else [value]
    if not maps or not all(isinstance(one, dict) for one in maps):
        return value
    plain = [{str(key): one[key] for key in one} for one in maps]
    if sum(len(key.encode()) + _NUMBER for one in plain for key in one) > layout.MAX_PLAIN:
        reason = (
            f"{name} is a list of {len(maps)} maps, too many for values that are sent one by one; call it with fewer "
            "rows, or convert the model without ZipMap (options={'zipmap': False} of skl2onnx) for an array"
        )
        raise BadValue(SpecError(reason), "output")
    return plain if isinstance(value, list) else plain[0]


def _is_numeric(value: Any) -> bool:
    return isinstance(value, np.ndarray) and (value.dtype.kind in "biufc" or value.dtype.name in _NUMBERS)


def _bind(bind: Any, name: str, array: Any) -> None:
    kind = _NUMBERS.get(array.dtype.name, array.dtype.type)
    bind(name, "cpu", 0, kind, list(array.shape), array.__array_interface__["data"][0])


def _dtype(name: str) -> Any:
    return wire.dtype_of(_CODES[name]) if name in _NUMBERS else np.dtype(name)


_CODES = {name: code for code, name in wire.EXTENDED.items()}


def _spec(node: Any) -> TensorSpec:
    """dtype and shape as the model says them: a size, a symbol by its name, or None for a dim without either."""
    if not node.type.startswith("tensor("):
        return TensorSpec(node.name)
    shape = tuple(dim if isinstance(dim, (int, str)) and dim != "" else None for dim in node.shape)
    return TensorSpec(node.name, _DTYPES.get(node.type, ""), shape)


def _providers(device: str, wanted: Any, version: str) -> List[Any]:
    """By what an order's device asks for, or by name. Raises ``SpecError`` where this build does not have one."""
    there = onnxruntime.get_available_providers()
    if wanted is not None:
        lacking = [name for name in wanted if name not in there]
        if lacking:
            raise SpecError(f"{version} has no {', '.join(lacking)}; it has {', '.join(there)}")
        return list(wanted)
    if device.startswith("cuda"):
        if "CUDAExecutionProvider" not in there:
            raise devices.lacking(device, version, ", ".join(there))
        return [("CUDAExecutionProvider", {"device_id": 0}), "CPUExecutionProvider"]
    return ["CPUExecutionProvider"]


def _explained(path: str, error: str, version: str) -> str:
    newer = _NEWER.findall(error)
    if newer:
        return f"{path} is newer than {version} reads ({'; '.join(newer)}): use a newer one"
    unknown = _UNKNOWN.search(error)
    if unknown is not None:
        name = (unknown[1] or unknown[2]).partition("(")[0]
        remedy = "a custom one is loaded with load(…, ops=['lib….so'])"
        return f"{path} uses the operation {name}, which {version} does not have; {remedy}"
    return f"{path} cannot be loaded by {version}: {error.strip()}"
