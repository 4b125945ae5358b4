"""What real models need still works under ``strict``: real frameworks, in environments of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conflicts.environments import built, had

import isopod
from isopod import Env, Sandbox

MODELS = Path(__file__).resolve().parent / "models"


def strict(model: str, env: Env | None = None, **options: object) -> isopod.Model:
    return isopod.load(MODELS / model, env=env, sandbox=Sandbox("strict", **options), timeout=120)  # type: ignore[arg-type]


def test_numpy() -> None:
    x = np.random.default_rng(1).random((64, 64))
    with strict("numpy_model.py:work") as model:
        out = model(x=x)
    np.testing.assert_allclose(out["product"], x @ x.T)
    np.testing.assert_allclose(out["rebuilt"], x @ x.T)
    np.testing.assert_allclose(out["threaded"], (x @ x.T).sum())
    np.testing.assert_allclose(out["spectrum"], np.abs(np.fft.fft(x)))
    np.testing.assert_array_equal(out["chance"], np.random.default_rng(0).random(3))


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("version", ["3.7", "3.8", "3.13"])
def test_numpy_on_other_pythons(version: str) -> None:
    env = Env(["numpy"], python=version)
    built(f"numpy on Python {version}", env)
    x = np.arange(16.0).reshape(4, 4)
    with strict("numpy_model.py:work", env) as model:
        np.testing.assert_allclose(model(x=x)["product"], x @ x.T)


def test_an_output_is_the_applications_own_and_can_be_written_to() -> None:
    x = np.ones((8, 8))
    with strict("numpy_model.py:work") as model:
        out = model(x=x)["product"]
    out += 1  # the worker is gone, and its memory with it
    assert (out == 9).all()


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", ["scikit-learn 1.2.2", "scikit-learn 1.9.1"])
def test_scikit_learn(version: str) -> None:
    had(version)
    from conflicts.environments import ENVIRONMENTS

    with strict("sklearn_model.py:Digits", ENVIRONMENTS[version]) as model:
        assert (model()["scores"] > 0.8).all()


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.full
@pytest.mark.timeout(900)
def test_onnxruntime() -> None:
    env = Env(["onnxruntime", "onnx"], python="3.11")
    built("onnxruntime", env)
    x = np.arange(8, dtype="f4").reshape(2, 4)
    with strict("onnx_model.py:Multiply", env) as model:
        np.testing.assert_allclose(model(x=x)["y"], x * 3)


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", ["torch 1.12.1", "torch 2.13.0"])
def test_torch(version: str) -> None:
    had(version)
    from conflicts.environments import ENVIRONMENTS

    x = np.random.default_rng(0).random((1, 3, 16, 16), dtype="f4")
    with strict("torch_model.py:Net", ENVIRONMENTS[version]) as model:
        out = model(x=x)
    assert out["features"].shape == (1, 8 * 14 * 14)
    np.testing.assert_allclose(out["scripted"], np.tanh(x) * 2 + x, rtol=1e-5)
    np.testing.assert_array_equal(out["gradient"], np.full(4, 2.0))
    assert out["threads"] == 2
    assert (out["product"] == 300).all()


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", ["tensorflow 2.12.1", "tensorflow 2.21"])
def test_tensorflow_with_a_scratch_folder(version: str) -> None:
    had(version)
    from conflicts.environments import ENVIRONMENTS

    x = np.arange(8, dtype="f4").reshape(2, 4)
    with strict("tensorflow_model.py:Net", ENVIRONMENTS[version], scratch=64 << 20) as model:
        out = model(x=x)
    np.testing.assert_allclose(out["dense"], np.repeat(x.sum(1, keepdims=True), 3, axis=1))
    np.testing.assert_allclose(out["traced"], (x @ x.T).sum())
    np.testing.assert_allclose(out["gradient"], 4.0)
    np.testing.assert_array_equal(out["saved"], 2 * x)
