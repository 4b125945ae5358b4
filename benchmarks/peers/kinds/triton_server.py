"""A Triton server with a model of its Python backend, called by gRPC; arrays lie in system shared memory, both ways.

The server is the one that PyTriton's package brings, started as its own manual says.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import contract
from benchmarks.peers.contract import Array, Unavailable

_LARGEST = 1 << 24
_PATIENCE = 40.0  # seconds for the server to be ready
_FUNCTIONS = ("first", "plus_one", "hold")  # a request says which by its place
_MODEL = """
import sys

sys.path[:0] = {path!r}  # Triton's Python heeds no PYTHONPATH
import triton_python_backend_utils as backend
from benchmarks.peers import contract

FUNCTIONS = ("first", "plus_one", "hold")


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            number = backend.get_input_tensor_by_name(request, "function").as_numpy()[0]
            x = backend.get_input_tensor_by_name(request, "x").as_numpy()
            y = contract.function_of(FUNCTIONS[number])(x)
            answers.append(backend.InferenceResponse([backend.Tensor("y", y)]))
        return answers
"""
_CONFIG = """
name: "bench"
backend: "python"
max_batch_size: 0
input [
  { name: "function", data_type: TYPE_INT32, dims: [ 1 ] },
  { name: "x", data_type: TYPE_FP32, dims: [ -1 ] }
]
output [ { name: "y", data_type: TYPE_FP32, dims: [ -1 ] } ]
instance_group [ { kind: KIND_CPU, count: 1 } ]
"""


class Peer(contract.Peer):
    def start(self) -> None:
        import tritonclient.grpc as client
        from tritonclient.utils import shared_memory

        self._library: Any = client
        self._memory: Any = shared_memory
        folder = contract.own_folder()
        port = 20_000 + os.getpid() % 40_000
        self._server = _serve(folder, port)
        self._client: Any = client.InferenceServerClient(f"localhost:{port}")
        self._ready()
        self._regions = {}
        for name in ("x", "y"):
            key = f"/isopod-bench-{os.getpid()}-{name}"
            self._regions[name] = shared_memory.create_shared_memory_region(name, key, _LARGEST)
            self._client.register_system_shared_memory(name, key, _LARGEST)

    def _ready(self) -> None:
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                if self._client.is_model_ready("bench"):
                    return
            except self._library.InferenceServerException:
                pass  # it does not listen yet
            if self._server.poll() is not None:
                raise Unavailable(f"the server ended with {self._server.returncode}")
            if time.monotonic() > until:
                raise Unavailable(f"the server was not ready after {_PATIENCE:.0f} s")
            time.sleep(0.05)  # there is nobody who would tell

    def call(self, function: str, array: Array) -> Array:
        return self.prepare(function, array)()

    def prepare(self, function: str, array: Array) -> Callable[[], Array]:
        self._memory.set_shared_memory_region(self._regions["x"], [array])
        which = self._library.InferInput("function", [1], "INT32")
        which.set_data_from_numpy(np.array([_FUNCTIONS.index(function)], np.int32))
        x = self._library.InferInput("x", [array.size], "FP32")
        x.set_shared_memory("x", array.nbytes)
        y = self._library.InferRequestedOutput("y")
        size = 1 if function == "first" else array.size
        y.set_shared_memory("y", 4 * size)

        def call() -> Array:
            self._client.infer("bench", [which, x], outputs=[y])
            return self._memory.get_contents_as_numpy(self._regions["y"], np.float32, [size])

        return call

    def stop(self) -> None:
        self._client.unregister_system_shared_memory()
        self._client.close()
        for region in self._regions.values():
            self._memory.destroy_shared_memory_region(region)
        self._server.terminate()
        self._server.wait()


def _serve(folder: Path, port: int) -> subprocess.Popen[bytes]:
    import pytriton

    binaries = Path(pytriton.__file__).parent / "tritonserver"
    site = binaries.parent.parent
    # The stub, which runs the model, is looked for beside the backend, and there is one for each Python.
    backends = folder / "backends"
    shutil.copytree(binaries / "backends", backends, symlinks=True)
    stub = binaries / "python_backend_stubs" / "{}.{}".format(*sys.version_info) / "triton_python_backend_stub"
    if not stub.exists():
        raise Unavailable(f"PyTriton has no stub for this Python: {stub.parent.name}")
    shutil.copy(stub, backends / "python")
    version = folder / "models" / "bench" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(_MODEL.format(path=[os.environ["PYTHONPATH"], str(site)]), encoding="utf-8")
    (version.parent / "config.pbtxt").write_text(_CONFIG, encoding="utf-8")
    options = ["--allow-http=false", "--allow-metrics=false", f"--grpc-port={port}", "--grpc-address=127.0.0.1"]
    libraries = f"{site / 'nvidia_pytriton.libs'}:{os.environ.get('LD_LIBRARY_PATH', '')}"
    return subprocess.Popen(
        [
            binaries / "bin" / "tritonserver",
            f"--model-repository={folder / 'models'}",
            f"--backend-directory={backends}",
            *options,
        ],
        env={**os.environ, "LD_LIBRARY_PATH": libraries},
    )
