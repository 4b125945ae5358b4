"""SavedModels by signature, frozen graphs by node, of TensorFlow 1.15 and of today, and files of Keras."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from backends.environments import environment
from backends.files import WRITERS, write

import isopod

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.full, pytest.mark.timeout(900)]

NEW, OLD = "tensorflow 2.21", "tensorflow 1.15.5"
BOTH = pytest.mark.parametrize("version", [NEW, OLD])


@pytest.fixture(scope="module")
def folder(_supervisor_at_rest: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tensorflow")
    graphs = [(f"graph {kind}", f"{kind}.pb") for kind in ("double", "words", "table")]
    saved = [("saved_model words", "words")]
    write(folder, "tensorflow", OLD, [*graphs, *saved])
    write(
        folder, "tensorflow", NEW, [("module", "module"), ("graph newer", "newer.pb"), ("graph bad_bytes", "bytes.pb")]
    )
    own = [("own layer", "own.keras"), ("weights", "w.weights.h5"), ("two", "two.keras"), ("dicts", "dicts.keras")]
    write(folder, "keras", NEW, own)
    return folder


def load(folder: Path, name: str, version: str, **more: Any) -> isopod.Model:
    return isopod.load(folder / name, env=environment(version), name=name, **more)


def test_a_signature_is_chosen_by_name_and_state_stays(folder: Path) -> None:
    with load(folder, "module", NEW, options={"signature": "loud"}) as model:
        assert model.inputs == (isopod.TensorSpec("words", "text", (None,)),)
        for calls in (1, 2, 3):
            answer = model(words=np.array(["grün", "🚀"]))
            assert answer["loud"].tolist() == ["grün!", "🚀!"]
            assert answer["calls"] == calls
    with pytest.raises(isopod.SpecError, match="no signature 'quiet' in it; it has half, loud, serving_default"):
        load(folder, "module", NEW, options={"signature": "quiet"})
    with pytest.raises(isopod.SpecError, match=r"written by TensorFlow 2.21.*with the tags"):
        load(folder, "module", NEW, options={"tags": ["train"]})


def test_bfloat16_goes_through(folder: Path) -> None:
    with load(folder, "module", NEW, options={"signature": "half"}) as model:
        assert model.inputs[0].dtype == "bfloat16"
        y = model(x=np.array([2, 4]).astype(ml_dtypes.bfloat16))["y"]
        assert y.dtype == ml_dtypes.bfloat16
        assert y.astype(float).tolist() == [1, 2]


@BOTH
def test_text_goes_through_a_session(folder: Path, version: str) -> None:
    for name in ("words", "words.pb"):
        with load(folder, name, version) as model:
            assert model.inputs == (isopod.TensorSpec("words", "text", (None,)),)
            assert model(words=np.array(["grün", "🚀"]))["loud"].tolist() == ["grün!", "🚀!"]


@BOTH
def test_operations_run_once_before_the_first_call(folder: Path, version: str) -> None:
    mapping = {"words": "words", "numbers": "numbers:0"}
    model = load(folder, "table.pb", version, options={"node_name_mapping": mapping})
    with model, pytest.raises(isopod.ModelError, match=r"[Tt]able not initialized"):
        model(words=np.array(["a"]))
    (init,) = initialisers(folder / "table.pb", version)
    with load(folder, "table.pb", version, options={"node_name_mapping": mapping, "init_op_names": [init]}) as model:
        assert model(words=np.array(["b", "c"]))["numbers"].tolist() == [2, -1]
    with pytest.raises(isopod.SpecError, match="no operation 'nothing' in the graph, which init_op_names names"):
        load(folder, "table.pb", version, options={"init_op_names": ["nothing"]})


def initialisers(path: Path, version: str) -> list[str]:
    with isopod.load(WRITERS / "pointers.py:initialisers", env=environment(version)) as model:
        return [str(name) for name in model(path=str(path))["names"]]


@BOTH
def test_a_node_that_is_not_there_is_named(folder: Path, version: str) -> None:
    with pytest.raises(
        isopod.SpecError, match=r"no node 'input:0' in the graph \(its last ones are .*node_name_mapping"
    ):
        load(folder, "double.pb", version, options={"node_name_mapping": {"x": "input"}})


def test_a_graph_of_a_newer_tensorflow_is_explained(folder: Path) -> None:
    with pytest.raises(
        isopod.SpecError,
        match=r"cannot be loaded by tensorflow 1\.15\.5: .*ApproxTopK.*; it has graph version 2\d\d\d, and tensorflow "
        r"1\.15\.5 has 134: a newer TensorFlow wrote it",
    ):
        load(folder, "newer.pb", OLD)


def test_a_saved_model_that_is_damaged_tells_it(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folder / "module", broken)
    data = (broken / "saved_model.pb").read_bytes()
    (broken / "saved_model.pb").write_bytes(data[: len(data) // 2])
    for version in (NEW, OLD):
        with pytest.raises(isopod.SpecError, match=r"its saved_model\.pb was cut short or damaged"):
            load(tmp_path, "broken", version)


def test_bytes_that_are_no_text_stay_bytes(folder: Path) -> None:
    with load(folder, "bytes.pb", NEW) as model:
        assert model(x=np.zeros(1, np.uint8))["out"].tolist() == [b"\xff\xfe\x01"]


def test_an_aligned_array_is_the_tensors_memory() -> None:
    with isopod.load(WRITERS / "pointers.py:in_tensorflow", env=environment(NEW)) as model:
        for kind in (np.float32, np.int64, np.uint8, np.float16):
            x = model.empty("x", (8, 64), kind)
            x[:] = 1
            assert dict(model(x=x)) == {"same": True, "aligned": True, "out": True}
        unaligned = model.empty("x", (9, 3), np.float32)[1:]
        assert dict(model(x=unaligned)) == {"same": False, "aligned": False, "out": True}
    with isopod.load(WRITERS / "pointers.py:fed_to_a_session", env=environment(NEW)) as model:
        assert model(x=np.ones((8, 64), np.float32))["same"]


def test_layers_of_a_models_own_are_imported(folder: Path) -> None:
    with pytest.raises((isopod.SpecError, isopod.ModelError), match="Triple"):
        load(folder, "own.keras", NEW)
    options = {"imports": [str(WRITERS / "own_layer.py")]}
    with load(folder, "own.keras", NEW, options=options) as model:
        assert model(x=np.ones((1, 3), np.float32))["y"].tolist() == [[3, 3, 3]]
    with pytest.raises(isopod.SpecError, match=r"there is no file /nowhere.py, which the option 'imports' names"):
        load(folder, "own.keras", NEW, options={"imports": ["/nowhere.py"]})


def test_a_model_with_several_inputs_takes_them_by_name(folder: Path) -> None:
    a, b = np.full((2, 3), 5, np.float32), np.ones((2, 3), np.float32)
    with load(folder, "two.keras", NEW) as model:
        answer = model(a=a, b=b)
        assert (answer["difference"][0, 0], answer["sum"][0, 0]) == (4, 6)
    with load(folder, "dicts.keras", NEW) as model:
        answer = model(left=a, right=b)
        assert (answer["difference"][0, 0], answer["sum"][0, 0]) == (4, 6)


def test_weights_alone_are_no_model(folder: Path) -> None:
    with pytest.raises(isopod.SpecError, match=r"w\.weights\.h5 holds weights and no model; save all of it"):
        load(folder, "w.weights.h5", NEW)
