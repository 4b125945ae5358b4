"""ONNX files: outputs computed right into the outbox where their shapes are known, and what else the runtime can do."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from backends.environments import environment
from backends.files import write
from waits import lasting_threads

import isopod
from isopod.ipc import layout

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(900)]

NEW, OLD = "onnxruntime 1.23", "onnxruntime 1.10"
KINDS = ["double", "untrue", "words", "bfloat16", "scalar", "newer", "unknown_op", "upper", "zipmap"]


@pytest.fixture(scope="module")
def folder(_supervisor_at_rest: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    write(folder, "onnx", NEW, [(kind, f"{kind}.onnx") for kind in KINDS])
    return folder


def load(folder: Path, name: str, version: str = NEW, **more: Any) -> isopod.Model:
    return isopod.load(folder / f"{name}.onnx", env=environment(version), name=name, **more)


@pytest.mark.parametrize("version", [NEW, OLD])
def test_an_output_that_is_not_as_the_model_says_is_right_all_the_same(folder: Path, version: str) -> None:
    with load(folder, "untrue", version) as model:
        x = np.arange(6, dtype=np.float32).reshape(2, 3)
        for calls in (1, 2):
            y = model(x=x)["y"]
            assert y.tolist() == [*x.tolist(), *x.tolist()]
            assert model.stats().bytes_copied_out == calls * y.nbytes


def test_text_and_scalars(folder: Path) -> None:
    with load(folder, "words") as model:
        assert model.inputs == (isopod.TensorSpec("x", "text", (None,)),)
        assert model(x=np.array(["grün", "🚀"]))["y"].tolist() == ["grün", "🚀"]
    with load(folder, "scalar") as model:
        assert model.inputs[0].shape == ()
        assert model(x=np.float32(3))["y"].tolist() == 3
        assert model.stats().bytes_copied_out == 0


def test_maps_cross_as_plain_values_as_long_as_there_are_few(folder: Path) -> None:
    with load(folder, "zipmap") as model:
        assert model.outputs == (isopod.TensorSpec("chances"),)
        x = np.array([[0.25, 0.75], [1, 0]], np.float32)
        expected = [{"7": 0.25, "9": 0.75}, {"7": 1.0, "9": 0.0}]
        assert model(x=x)["chances"] == expected
        with pytest.raises(
            isopod.ModelError, match=r"chances is a list of 40000 maps.*without ZipMap.*'zipmap': False"
        ):
            model(x=np.zeros((40_000, 2), np.float32))
        assert model(x=x)["chances"] == expected
        most = layout.MAX_PLAIN // 2 // 15
        assert model(x=np.zeros((most, 2), np.float32))["chances"][-1] == {"7": 0.0, "9": 0.0}
        assert model(x=x[:0])["chances"] == []


def test_bfloat16_moves_no_byte(folder: Path) -> None:
    with load(folder, "bfloat16") as model:
        x = model.empty("x", 4, ml_dtypes.bfloat16)
        x[:] = range(4)
        y = model(x=x)["y"]
        assert y.dtype == ml_dtypes.bfloat16
        assert y.astype(float).tolist() == [0, 1, 2, 3]
        assert (model.stats().bytes_copied_in, model.stats().bytes_copied_out) == (0, 0)
    with load(folder, "bfloat16", OLD) as model, pytest.raises(isopod.SpecError, match="add a recent ml_dtypes"):
        model(x=np.zeros(1, ml_dtypes.bfloat16))


def test_a_wrong_dtype_or_rank_is_an_error_and_no_more(folder: Path) -> None:
    with load(folder, "double") as model:
        for x in (np.ones((2, 3)), np.ones(3, np.float32), np.ones((2, 4), np.float32), np.array([["a", "b", "c"]])):
            with pytest.raises((isopod.ModelError, isopod.SpecError)):
                model(x=x)
        assert model(x=np.ones((1, 3), np.float32))["y"].tolist() == [[3, 3, 3]]
        assert model(x=np.ones((0, 3), np.float32))["y"].shape == (0, 3)


def test_a_newer_file_is_explained(folder: Path) -> None:
    with pytest.raises(
        isopod.SpecError, match=r"newer than onnxruntime 1\.10\.0 reads \(.*opset 15\): use a newer one"
    ):
        load(folder, "newer", OLD)


def test_an_operation_that_nobody_has(folder: Path) -> None:
    with pytest.raises(
        isopod.SpecError, match=r"uses the operation \S*Foo, which onnxruntime .* loaded with load\(…, ops="
    ):
        load(folder, "unknown_op")


def test_an_execution_provider_is_chosen_by_name(folder: Path) -> None:
    with load(folder, "double", options={"providers": ["CPUExecutionProvider"]}) as model:
        assert model(x=np.ones((1, 3), np.float32))["y"].tolist() == [[3, 3, 3]]
    with pytest.raises(isopod.SpecError, match=r"has no RocketExecutionProvider; it has .*CPUExecutionProvider"):
        load(folder, "double", options={"providers": ["RocketExecutionProvider"]})


def test_its_pool_has_the_threads_that_were_asked_for(folder: Path) -> None:
    quiet = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")  # so that only the session's are counted
    env = dataclasses.replace(environment(NEW), variables=quiet)
    counts = []
    for threads in (1, 4):
        with isopod.load(folder / "double.onnx", env=env, threads=threads) as model:
            model(x=np.ones((1, 3), np.float32))
            counts.append(lasting_threads(model.health.pid))
    assert counts[1] - counts[0] == 3, "the calling thread is one of the four"
