"""The tensorrt backend: an engine file (.engine, .plan), which runs on the kind of GPU that it was built for.

Inputs are copied to the GPU from where they lie in the inbox, and outputs from the GPU into the outbox, with nothing
between. Custom layers are libraries of plugins. An engine with an output whose size depends on the data is refused.
https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/python-api-docs.html
"""

from __future__ import annotations

import ctypes
from typing import Any, Dict, Tuple

import numpy as np

from isopod.ipc import tensor as wire
from isopod.ipc.errors import SpecError
from isopod.ipc.spec import TensorSpec
from isopod.opeworker import context, devices
from isopod.opeworker.backends import Order, requires
from isopod.opeworker.failure import BadValue
from isopod.opeworker.ops import Ops

with requires("tensorrt"):
    import tensorrt

_DTYPES = {
    "FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16", "INT8": "int8", "INT32": "int32", "INT64": "int64",
    "UINT8": "uint8", "BOOL": "bool", "FP8": "float8_e4m3fn",
}  # fmt: skip
_EXTENDED = {name: code for code, name in wire.EXTENDED.items()}


def load(order: Order) -> Engine:
    order.check_version("tensorrt", tensorrt.__version__)
    order.take_options()
    order.refuse_arguments()
    if order.device == "cpu":
        raise SpecError("device 'cpu' cannot be used: TensorRT runs on a GPU; load with device='cuda:0'")
    devices.check(order.device or "cuda:0")
    version = f"tensorrt {tensorrt.__version__}"
    logger = tensorrt.Logger(tensorrt.Logger.WARNING)
    tensorrt.init_libnvinfer_plugins(logger, "")
    Ops(version).load(order.ops, lambda library: ctypes.CDLL(library, ctypes.RTLD_GLOBAL))
    gpu = Gpu()
    runtime = tensorrt.Runtime(logger)
    with open(order.path, "rb") as file:
        engine = runtime.deserialize_cuda_engine(file.read())
    if engine is None:
        raise SpecError(
            f"{order.path} cannot be loaded by {version} on this GPU (its log says why): an engine fits the "
            "version and the kind of GPU that it was built with; build it again here"
        )
    return Engine(runtime, engine, gpu)


class Engine:
    """An engine with one execution context. Its memory on the GPU is kept, and grows with the largest call."""

    open = False

    def __init__(self, runtime: Any, engine: Any, gpu: Gpu) -> None:
        self._runtime = runtime  # outlives its engine
        self._engine = engine
        self._context = engine.create_execution_context()
        self._gpu = gpu
        self._memory: Dict[str, Tuple[int, int]] = {}  # by name: address on the GPU, bytes
        names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
        given = [name for name in names if engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT]
        self.inputs = [self._spec(name) for name in given]
        self.outputs = [self._spec(name) for name in names if name not in given]

    def __call__(self, inputs: Dict[str, Any]) -> Any:
        self._gpu.enter()
        kept = []  # until the GPU has read them
        for spec in self.inputs:
            array = np.asarray(inputs[spec.name], dtype=None if spec.dtype in _EXTENDED else spec.dtype, order="C")
            kept.append(array)
            if not self._context.set_input_shape(spec.name, tuple(array.shape)):
                reason = f"input {spec.name}: the engine was not built for the shape {array.shape}"
                raise BadValue(SpecError(reason), "input")
            address = self._room(spec.name, array.nbytes)
            self._gpu.copy_in(address, array)
            self._context.set_tensor_address(spec.name, address)
        outputs = {}
        for spec in self.outputs:
            shape = tuple(self._context.get_tensor_shape(spec.name))
            if any(dim < 0 for dim in shape):
                raise BadValue(
                    SpecError(f"the size of {spec.name} depends on the data, which is not offered"), "output"
                )
            dtype = wire.dtype_of(_EXTENDED[spec.dtype]) if spec.dtype in _EXTENDED else np.dtype(spec.dtype)
            outputs[spec.name] = context.empty(shape, dtype)
            self._context.set_tensor_address(spec.name, self._room(spec.name, outputs[spec.name].nbytes))
        if not self._context.execute_async_v3(self._gpu.stream):
            raise RuntimeError("TensorRT could not run the engine; its log says why")
        for name, array in outputs.items():
            self._gpu.copy_out(array, self._memory[name][0])
        self._gpu.wait()
        return outputs

    def close(self) -> None:
        self._gpu.enter()
        for address, _ in self._memory.values():
            self._gpu.free(address)

    def _room(self, name: str, nbytes: int) -> int:
        address, size = self._memory.get(name, (0, 0))
        if size < nbytes or not address:
            if address:
                self._gpu.free(address)
                del self._memory[name]
            address, size = self._gpu.allocate(max(nbytes, 1)), nbytes
            self._memory[name] = address, size
        return address

    def _spec(self, name: str) -> TensorSpec:
        kind = self._engine.get_tensor_dtype(name)
        dtype = _DTYPES.get(str(kind).rpartition(".")[2])
        if dtype is None:
            raise SpecError(f"the engine has {name} as {kind}, which cannot cross; build it with another type there")
        return TensorSpec(
            name, dtype, tuple(None if dim < 0 else int(dim) for dim in self._engine.get_tensor_shape(name))
        )


class Gpu:
    """Memory and a stream of the one GPU that this process sees, by CUDA's driver, so that no other package is needed.

    The primary context is the one that TensorRT uses, too. https://docs.nvidia.com/cuda/cuda-driver-api/
    """

    def __init__(self) -> None:
        self._driver = ctypes.CDLL("libcuda.so.1")
        device, self._context, stream = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
        self._do("cuInit", 0)
        self._do("cuDeviceGet", ctypes.byref(device), 0)
        self._do("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), device)
        self.enter()
        self._do("cuStreamCreate", ctypes.byref(stream), 0)
        self.stream = int(stream.value or 0)

    def enter(self) -> None:
        """Make its context the calling thread's."""
        self._do("cuCtxSetCurrent", self._context)

    def allocate(self, nbytes: int) -> int:
        address = ctypes.c_uint64()
        self._do("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(nbytes))
        return int(address.value)

    def free(self, address: int) -> None:
        self._do("cuMemFree_v2", ctypes.c_uint64(address))

    def copy_in(self, address: int, array: Any) -> None:
        source, size = ctypes.c_void_p(array.__array_interface__["data"][0]), ctypes.c_size_t(array.nbytes)
        self._do("cuMemcpyHtoDAsync_v2", ctypes.c_uint64(address), source, size, ctypes.c_void_p(self.stream))

    def copy_out(self, array: Any, address: int) -> None:
        to, size = ctypes.c_void_p(array.__array_interface__["data"][0]), ctypes.c_size_t(array.nbytes)
        self._do("cuMemcpyDtoHAsync_v2", to, ctypes.c_uint64(address), size, ctypes.c_void_p(self.stream))

    def wait(self) -> None:
        self._do("cuStreamSynchronize", ctypes.c_void_p(self.stream))

    def _do(self, function: str, *arguments: Any) -> None:
        status = getattr(self._driver, function)(*arguments)
        if status:
            name = ctypes.c_char_p()
            self._driver.cuGetErrorName(status, ctypes.byref(name))
            raise RuntimeError(f"{function} failed: {(name.value or b'an unknown error').decode()} ({status})")
