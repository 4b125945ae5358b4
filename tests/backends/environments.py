"""The environments of the backends' tests: those of the tests of conflicts, and some of their own."""

from __future__ import annotations

from conflicts.environments import ENVIRONMENTS as CONFLICTING
from conflicts.environments import built

import isopod

_ONNX = ["numpy", "onnxruntime"]
ENVIRONMENTS = {
    **CONFLICTING,
    "torch 2.13.0": isopod.Env(
        ["torch==2.13.0+cpu", "ml_dtypes"], python="3.11", warm=["numpy", "torch", "torch.export"]
    ),
    "onnxruntime 1.10": isopod.Env(["onnxruntime==1.10.0", "onnx<1.15", "numpy<2"], python="3.8", warm=_ONNX),
    "onnxruntime 1.23": isopod.Env(
        ["onnxruntime==1.23.*", "onnxruntime-extensions", "onnx", "ml_dtypes"], python="3.11", warm=_ONNX
    ),
    "keras on torch": isopod.Env(
        ["keras==3.*", "torch==2.13.0+cpu"],
        python="3.11",
        warm=["numpy", "torch"],
        variables={"KERAS_BACKEND": "torch"},
    ),
    "tensorrt": isopod.Env(["tensorrt>=10", "numpy"], python="3.11", allow_source=True),
    "scikit-learn 1.9.1": isopod.Env(
        ["scikit-learn==1.9.1", "skops", "pandas"], python="3.11", warm=["numpy", "sklearn"]
    ),
}


def environment(name: str) -> isopod.Env:
    """One that is built; where that cannot be, the test is skipped, and says why."""
    built(name, ENVIRONMENTS[name])
    return ENVIRONMENTS[name]
