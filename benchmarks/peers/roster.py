"""Who takes part: a row each, with the file in ``kinds`` that knows it and the packages that it needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

_ICEORYX, _ICEORYX_FOLDERS = ("iceoryx2", "numpy"), ("/tmp/iceoryx2",)
# vLLM asks for hundreds of packages and CUDA's libraries; its message queue imports few of them.
_VLLM = ("vllm==0.33.0", "packaging")
_NOT_FOR_THE_QUEUE = (
    "anthropic", "aiohttp", "apache-tvm-ffi", "compressed-tensors", "depyf", "fastapi", "fastsafetensors",
    "flashinfer-python", "huggingface-hub", "humming-kernels", "instanttensor", "llguidance", "lm-format-enforcer",
    "mcp", "mistral-common", "model-hosting-container-standards", "numba", "nvidia-cudnn-frontend",
    "nvidia-cutlass-dsl", "nvtx", "openai", "opencv-python-headless", "opentelemetry-api",
    "opentelemetry-exporter-otlp", "opentelemetry-sdk", "oss-harmony", "outlines-core", "pillow",
    "prometheus-fastapi-instrumentator", "pynvvideocodec", "quack-kernels", "sentencepiece", "starlette", "tiktoken",
    "tilelang", "tokenizers", "tokenspeed-mla", "torchaudio", "torchcodec", "torchvision", "transformers", "xgrammar",
)  # fmt: skip
_VLLM_OVERRIDES = ("torch==2.13.0", *(f"{name}; sys_platform == 'never'" for name in _NOT_FOR_THE_QUEUE))


@dataclass(frozen=True)
class Entry:
    """A row. Without ``requirements`` it runs in the environment of the benchmark itself."""

    name: str
    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    requirements: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    group: Literal["isopod", "peer", "limit"] = "peer"
    carries: bool = True  # the array; False: one figure, which is the same for each function and size
    folders: tuple[str, ...] = ()  # where it keeps files, besides the temporary folder and /dev/shm

    @property
    def shows(self) -> str | None:
        """The distribution whose version is told."""
        return self.requirements[0].partition("==")[0] if self.requirements else None

    def has(self, function: str, size: str) -> bool:
        """Whether there is a figure of it in a cell."""
        return self.carries or (function, size) == ("first", "1 KB")

    @property
    def mortal(self) -> bool:
        """Whether there is a worker that can be killed in mid-call."""
        return self.group != "limit"


ROSTER = (
    Entry("isopod, arrays in shared memory", "isopod_model", {"placed": True}, group="isopod"),
    Entry("isopod, plain arrays", "isopod_model", group="isopod"),
    Entry("shared memory by hand, semaphores, no copies", "shared_memory", {"bell": "semaphores", "placed": True}),
    Entry("shared memory by hand, Pipe, copies", "shared_memory", {"bell": "pipe", "placed": False}),
    Entry("iceoryx2, polling, no copies", "iceoryx_slices", {"events": False}, _ICEORYX, folders=_ICEORYX_FOLDERS),
    Entry("iceoryx2, events, no copies", "iceoryx_slices", {"events": True}, _ICEORYX, folders=_ICEORYX_FOLDERS),
    Entry("vLLM's message queue", "vllm_queue", {}, _VLLM, _VLLM_OVERRIDES),
    Entry("Pipe, pickle 5", "pipe"),
    Entry("Pipe, pickle 5, out of band", "pipe", {"apart": True}),
    Entry("ZeroMQ, Unix socket", "zmq_socket", {}, ("pyzmq", "numpy")),
    Entry("gRPC, Unix socket", "grpc_socket", {}, ("grpcio", "numpy")),
    Entry("concurrent.futures", "pools", {"library": "concurrent.futures"}),
    Entry("loky (joblib)", "pools", {"library": "loky"}, ("loky", "numpy")),
    Entry("Pebble", "pools", {"library": "pebble"}, ("pebble", "numpy")),
    Entry("appose, array in shared memory", "appose_task", {}, ("appose", "numpy")),
    Entry("pyisolate", "pyisolate_extension", {}, ("pyisolate", "torch==2.13.0", "numpy")),
    Entry("torch.multiprocessing", "torch_queue", {}, ("torch==2.13.0", "numpy")),
    Entry("Ray actor", "ray_actor", {}, ("ray", "numpy")),
    Entry("Triton, shared memory", "triton_server", {}, ("nvidia-pytriton", "tritonclient[grpc]", "numpy")),
    Entry("the function, in process", "in_process", group="limit"),
    Entry("memcpy, in and out", "memcpy", group="limit"),
    Entry("semaphores in Python, there and back", "semaphores", group="limit", carries=False),
    Entry("futex in C, there and back", "ping_pong", {"mode": "futex"}, group="limit", carries=False),
    Entry("a cache line in C, there and back", "ping_pong", {"mode": "line"}, group="limit", carries=False),
)  # fmt: skip
