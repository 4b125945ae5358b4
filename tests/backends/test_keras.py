"""Keras 3 on another backend than TensorFlow: the same files, read by a Keras whose variable says which."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import psutil
import pytest
from backends.environments import environment
from backends.files import write

import isopod

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.full, pytest.mark.timeout(900)]

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_a_file_of_keras_on_tensorflow_runs_on_torch(tmp_path: Path) -> None:
    write(tmp_path, "keras", "tensorflow 2.21", [("double", "double.keras"), ("two", "two.keras")])
    env = environment("keras on torch")
    with isopod.load(tmp_path / "double.keras", env=env, timeout=120) as model:
        assert model.inputs == (isopod.TensorSpec("x", "float32", (None, 3)),)
        assert model.outputs == (isopod.TensorSpec("y", "float32", (None, 3)),)
        np.testing.assert_allclose(model(x=X)["y"], X * 2 + 1)
        assert "libtorch_cpu" in " ".join(one.path for one in psutil.Process(model.health.pid).memory_maps())
    with isopod.load(tmp_path / "two.keras", env=env, timeout=120, threads=isopod.Threads(1, 2)) as model:
        answer = model(a=X, b=X * 3)
        assert (answer["sum"] == X * 4).all()
        assert (answer["difference"] == X * -2).all()
    (tmp_path / "lib.so").write_bytes(b"")
    with pytest.raises(isopod.SpecError, match="custom operations are for TensorFlow, and Keras runs on torch here"):
        isopod.load(tmp_path / "double.keras", env=env, ops=[tmp_path / "lib.so"])
