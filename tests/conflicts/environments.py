"""The environments that exclude each other, and the way to one of them that skips a test where it cannot be had.

What the demo builds is taken from there, so that it is built once. The new Torch is asked for as the build for
processors alone: without that one, a package index would hand out gigabytes for a GPU that no test here uses.
"""

from __future__ import annotations

import pytest

import isopod
from isopod.demo.frameworks import frameworks
from isopod.runtime.environment import Prepared, prepare

_DEMO = {framework.name: framework.env for framework in frameworks()}


def _tensorflow(version: str) -> isopod.Env:
    warm, quiet = ["numpy", "tensorflow"], {"TF_CPP_MIN_LOG_LEVEL": "3"}
    return isopod.Env([f"tensorflow-cpu=={version}"], python="3.11", warm=warm, variables=quiet)


ENVIRONMENTS = {
    "torch 1.12.1": _DEMO["PyTorch 1.12"],
    "torch 2.13.0": isopod.Env(["torch==2.13.0+cpu"], python="3.11", warm=["numpy", "torch", "torch.func"]),
    "tensorflow 1.15.5": _DEMO["TensorFlow 1.15"],
    "tensorflow 2.12.1": _tensorflow("2.12.1"),
    "tensorflow 2.15.1": _tensorflow("2.15.1"),
    "tensorflow 2.21": _DEMO["TensorFlow 2.21"],
    "scikit-learn 1.2.2": isopod.Env(["scikit-learn==1.2.2", "numpy<2"], python="3.11"),
    "scikit-learn 1.9.1": isopod.Env(["scikit-learn==1.9.1"], python="3.11"),
}


def had(name: str) -> Prepared:
    """Build it or find it built; where that cannot be, skip the test and say why."""
    return built(name, ENVIRONMENTS[name])


def built(name: str, env: isopod.Env) -> Prepared:
    try:
        return prepare(env)
    except (isopod.SpecError, isopod.EnvironmentBuildError) as error:
        lines = str(error).splitlines()
        why = [line.strip() for line in lines[1:] if line.strip().startswith(("error:", "cause:"))]
        pytest.skip(f"{name} cannot be had here: {' '.join([lines[0], *why])}")
