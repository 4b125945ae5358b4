"""An engine of TensorRT, built and run on the GPU that is here; skipped where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from backends.files import write

import isopod

pytestmark = [pytest.mark.gpu, pytest.mark.slow, pytest.mark.network, pytest.mark.full, pytest.mark.timeout(900)]


def test_an_engine_answers_from_memory_and_into_memory(tmp_path: Path) -> None:
    env = write(tmp_path, "tensorrt", "tensorrt", [("double", "double.engine")])
    with isopod.load(tmp_path / "double.engine", env=env) as model:
        assert model.inputs == (isopod.TensorSpec("x", "float32", (None, 3)),)
        assert model.outputs == (isopod.TensorSpec("y", "float32", (None, 3)),)
        for rows in (1, 1000, 7):
            x = model.empty("x", (rows, 3), np.float32)
            x[:] = rows
            np.testing.assert_allclose(model(x=x)["y"], rows * 2 + 1)
        assert (model.stats().bytes_copied_in, model.stats().bytes_copied_out) == (0, 0)
        with pytest.raises(isopod.SpecError, match=r"not built for the shape \(2000, 3\)"):
            model(x=np.zeros((2000, 3), np.float32))
        assert model(x=np.zeros((1, 3), np.float32))["y"].tolist() == [[1, 1, 1]]
    broken = tmp_path / "broken.engine"
    broken.write_bytes((tmp_path / "double.engine").read_bytes()[:500])
    with pytest.raises(isopod.SpecError, match="an engine fits the version and the kind of GPU"):
        isopod.load(broken, env=env)
    with pytest.raises(isopod.SpecError, match="TensorRT runs on a GPU"):
        isopod.load(tmp_path / "double.engine", env=env, device="cpu")
