"""Isopod: each machine-learning model in a process of its own, called like a local function.

::

    import isopod

    old = isopod.load("digits.py:Classifier", env=isopod.Env(["scikit-learn==1.2.2", "numpy<2"]))
    print(old(images=pixels)["labels"])

``load`` returns a ``Model``. What can go wrong is drawn as a tree in ``isopod.errors``.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from isopod.runtime.api import (
    ArenaFull,
    Batch,
    BuildEvent,
    Closed,
    CrashReport,
    Env,
    EnvironmentBuildError,
    Health,
    Input,
    InternalError,
    IsopodError,
    Model,
    ModelError,
    Output,
    Outputs,
    Overloaded,
    Problem,
    ProtocolError,
    Restart,
    Sandbox,
    SandboxReport,
    SandboxUnavailable,
    SpecError,
    Stats,
    TensorSpec,
    Threads,
    WorkerCrashed,
    WorkerError,
    WorkerHealth,
    WorkerTimeout,
    WorkerUnavailable,
    errors,
    health,
    load,
)

if _TYPE_CHECKING:
    from isopod.runtime.bench import Benchmark, bench
    from isopod.runtime.comparison import Comparison, compare
    from isopod.runtime.observe.trace import trace
    from isopod.runtime.pods.examples import Example
    from isopod.runtime.pods.packing import pack

__all__ = [
    "ArenaFull",
    "Batch",
    "Benchmark",
    "BuildEvent",
    "Closed",
    "Comparison",
    "CrashReport",
    "Env",
    "EnvironmentBuildError",
    "Example",
    "Health",
    "Input",
    "InternalError",
    "IsopodError",
    "Model",
    "ModelError",
    "Output",
    "Outputs",
    "Overloaded",
    "Problem",
    "ProtocolError",
    "Restart",
    "Sandbox",
    "SandboxReport",
    "SandboxUnavailable",
    "SpecError",
    "Stats",
    "TensorSpec",
    "Threads",
    "WorkerCrashed",
    "WorkerError",
    "WorkerHealth",
    "WorkerTimeout",
    "WorkerUnavailable",
    "bench",
    "compare",
    "errors",
    "health",
    "load",
    "pack",
    "trace",
]

# What an application that serves models does not need is imported when it is first asked for.
_LATE = {
    "Benchmark": "isopod.runtime.bench",
    "bench": "isopod.runtime.bench",
    "Comparison": "isopod.runtime.comparison",
    "compare": "isopod.runtime.comparison",
    "Example": "isopod.runtime.pods.examples",
    "pack": "isopod.runtime.pods.packing",
    "trace": "isopod.runtime.observe.trace",
}


def __getattr__(name: str) -> _Any:
    if name not in _LATE:
        raise AttributeError(f"module 'isopod' has no attribute {name!r}")
    found = globals()[name] = getattr(_import_module(_LATE[name]), name)
    return found


def __dir__() -> list[str]:
    return __all__
