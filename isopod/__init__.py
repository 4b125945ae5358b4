"""Isopod: each machine-learning model in a process of its own, called like a local function.

::

    import isopod

    old = isopod.load("digits.py:Classifier", env=isopod.Env(["scikit-learn==1.2.2", "numpy<2"]))
    print(old(images=pixels)["labels"])

``load`` returns a ``Model``. What can go wrong is drawn as a tree in ``isopod.errors``.
"""

from isopod.runtime.api import (
    ArenaFull,
    BuildEvent,
    Closed,
    Comparison,
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
    compare,
    errors,
    health,
    load,
)

__all__ = [
    "ArenaFull",
    "BuildEvent",
    "Closed",
    "Comparison",
    "CrashReport",
    "Env",
    "EnvironmentBuildError",
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
    "compare",
    "errors",
    "health",
    "load",
]
