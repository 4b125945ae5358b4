"""TorchScript with the semantics that Neuropod gave it, programs of torch.export, and callables that get tensors."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from backends.environments import environment
from backends.files import WRITERS, write

import isopod

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(900)]

MODELS = Path(__file__).resolve().parent.parent / "models"
NEW, OLD = "torch 2.13.0", "torch 1.12.1"
SCRIPTS = ["Keywords", "OneDict", "Words", "DictsOfWords", "Twice", "Named", "Tuples", "Identity"]


@pytest.fixture(scope="module", params=[NEW, OLD])
def version(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def folder(_supervisor_at_rest: None, version: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("torch")
    write(folder, "torch", version, [(kind, f"{kind}.pt") for kind in SCRIPTS])
    return folder


@pytest.fixture(scope="module")
def new(_supervisor_at_rest: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("torch_2")
    kinds = [("Exported", "m.pt2"), ("Nested", "nested.pt2"), ("Newer", "newer.pt"), ("checkpoint", "weights.pt")]
    write(folder, "torch", NEW, [*kinds, ("old checkpoint", "old.pt"), ("Identity", "identity.pt")])
    return folder


@pytest.fixture
def load(folder: Path, version: str) -> Any:
    return lambda name, **more: isopod.load(folder / f"{name}.pt", env=environment(version), name=name, **more)


def test_inputs_are_keywords_and_may_have_defaults(load: Any) -> None:
    with load("Keywords") as model:
        assert [(spec.name, spec.required) for spec in model.inputs] == [("x", True), ("scale", False)]
        x = np.ones((2, 2), np.float32)
        assert model(x=x)["output"].tolist() == x.tolist()
        assert model(x=x, scale=np.float32(3))["output"].tolist() == (x * 3).tolist()
        with pytest.raises(isopod.SpecError, match="needs the input 'x'"):
            model(scale=x)


def test_one_dict_takes_all_inputs(load: Any) -> None:
    with load("OneDict") as model:
        assert model(a=np.ones(2), b=np.ones(2))["sum"].tolist() == [2, 2]


def test_text_is_a_list_of_one_dimension(load: Any) -> None:
    with load("Words") as model:
        assert model.inputs == (isopod.TensorSpec("words", "text", (None,)),)
        assert model(words=np.array(["grün", "🚀", ""]))["output"].tolist() == ["grün!", "🚀!", "!"]
        with pytest.raises(isopod.SpecError, match="it has 2 dimensions, not 1"):
            model(words=np.array([["a"]]))
        assert model(words=np.array(["a"]))["output"].tolist() == ["a!"]


def test_a_tuple_of_dicts_is_one_dict_and_names_no_output_twice(load: Any) -> None:
    with load("DictsOfWords") as model:
        answer = model(words=np.array(["a"]), x=np.zeros(1))
        assert (answer["x"].tolist(), answer["words"].tolist()) == ([1], ["a"])
    with load("Twice") as model, pytest.raises(isopod.ModelError, match="have an output 'x'"):
        model(x=np.zeros(1))


def test_tuples_have_their_names_or_numbers(load: Any) -> None:
    with load("Named") as model:
        answer = model(x=np.array([5.0]))
        assert (answer["low"].tolist(), answer["high"].tolist()) == ([4], [6])
    with load("Tuples") as model:
        answer = model(x=np.array([5.0]))
        assert (answer["output_0"].tolist(), answer["output_1"].tolist()) == ([4], [6])


def test_what_comes_back_as_it_went_in_moves_no_byte(load: Any) -> None:
    with load("Identity") as model:
        x = model.empty("x", (64, 64), np.float32)
        x[:] = 7
        y = model(x=x)["output"]
        x[0, 0] = 8
        assert y[0, 0] == 8, "it is the same memory"
        assert (model.stats().bytes_copied_in, model.stats().bytes_copied_out) == (0, 0)


def test_what_another_model_made_may_be_changed_in_place_for_it_is_a_copy(version: str) -> None:
    eager = isopod.load(WRITERS / "eager.py:in_place", backend="pytorch", env=environment(version), name="eager")
    with isopod.load(MODELS / "chains.py:Stage") as stage, eager as model:
        y = stage(x=np.zeros((64, 64), np.float32))["y"]
        for turn in (1, 2):
            assert (model(x=y)["output"] == 2).all()
            assert model.stats().bytes_copied_in == turn * y.nbytes
        assert (y == 1).all()
        assert model.stats().crashes == 0


def test_a_tensor_lies_where_its_array_lies(version: str) -> None:
    with isopod.load(WRITERS / "pointers.py:in_torch", env=environment(version)) as model:
        for kind in (np.float32, np.int64, np.uint8, np.bool_, np.complex64):
            assert model(x=np.ones((4, 4), kind))["same"]


def test_an_input_stays_on_the_processor_where_its_package_says_so(version: str) -> None:
    with isopod.load(WRITERS / "pointers.py:placed_by_torch", env=environment(version)) as model:
        assert dict(model(a=np.ones(2), b=np.ones(2))) == {"a": "meta", "b": "cpu"}


def test_a_program_says_all_of_its_inputs_and_outputs(new: Path) -> None:
    with isopod.load(new / "m.pt2", env=environment(NEW)) as model:
        x, scale = model.inputs
        assert (x.name, x.dtype, scale.name, scale.shape) == ("x", "float32", "scale", (4,))
        assert x.shape is not None
        assert isinstance(x.shape[0], str)
        assert {spec.name: spec.shape for spec in model.outputs} == {"y": x.shape, "rows": x.shape[:1]}
        answer = model(x=np.ones((5, 4), np.float32), scale=np.arange(4, dtype=np.float32))
        assert answer["y"].tolist() == [[1, 2, 3, 4]] * 5
        assert answer["rows"].tolist() == [4] * 5
    with isopod.load(new / "nested.pt2", env=environment(NEW)) as model:
        first, second = (spec.name for spec in model.inputs)
        assert model({first: np.full(2, 3, np.float32), second: np.ones(2, np.float32)})["output"].tolist() == [2, 2]


def test_a_callable_gets_tensors_in_inference_mode() -> None:
    def load(name: str, **more: Any) -> isopod.Model:
        return isopod.load(f"{WRITERS / 'eager.py'}:{name}", backend="pytorch", env=environment(NEW), **more)

    with load("facts", threads=2) as model:
        answer = model(x=np.arange(3, dtype=np.int16))
        assert (answer["kind"], answer["dtype"], answer["inference"]) == ("Tensor", "torch.int16", True)
        assert (answer["grad"], answer["threads"]) == (False, 2)
        half = np.arange(4).astype(ml_dtypes.bfloat16)
        answer = model(x=half)
        assert answer["dtype"] == "torch.bfloat16"
        np.testing.assert_array_equal(answer["y"], half)
    with load("pair") as model:
        answer = model(x=np.ones(2), word=np.array(["a"]))
        assert (answer["output_0"].tolist(), answer["output_1"].tolist()) == ([2, 2], ["a!"])
    with load("half") as model:
        y = model(x=np.arange(3, dtype=np.float32))["output"]
        assert y.dtype == ml_dtypes.bfloat16
        assert y.astype(float).tolist() == [0, 2, 4]
    with load("small") as model:
        assert model(x=np.arange(3, dtype=np.float32))["output"].dtype == ml_dtypes.float8_e4m3fn
    with load("conjugate") as model:
        assert model(x=np.ones(2, np.float32))["output"].tolist() == [1 - 1j, 1 - 1j]


def test_a_script_of_a_newer_torch_is_explained(new: Path) -> None:
    with pytest.raises(isopod.SpecError, match=r"aten::scaled_dot_product_attention, which torch 1\.12\.1.* not have"):
        isopod.load(new / "newer.pt", env=environment(OLD))
    future = new / "future.pt"
    with zipfile.ZipFile(new / "identity.pt") as source, zipfile.ZipFile(future, "w") as target:
        for name in source.namelist():
            target.writestr(name, b"99\n" if name.endswith("/version") else source.read(name))
    with pytest.raises(isopod.SpecError, match=r"file format 99, and torch 1\.12\.1\S* reads up to \d+: a newer Torch"):
        isopod.load(future, env=environment(OLD))


def test_a_program_in_a_torch_without_programs(new: Path) -> None:
    with pytest.raises(isopod.SpecError, match=r"needs torch\.export, which torch 1\.12\.1\S* does not have"):
        isopod.load(new / "m.pt2", env=environment(OLD))


def test_weights_and_broken_files_are_refused(new: Path, tmp_path: Path) -> None:
    for name in ("weights.pt", "old.pt"):
        with pytest.raises(isopod.SpecError, match=r"written by torch\.save"):
            isopod.load(new / name, env=environment(NEW))
    cut = tmp_path / "cut.pt"
    cut.write_bytes((new / "identity.pt").read_bytes()[:-200])
    with pytest.raises(isopod.SpecError, match="begins like a zip and is not whole"):
        isopod.load(cut, env=environment(NEW))
    with pytest.raises(isopod.SpecError, match=r"not what torch\.jit\.save writes, or was cut short"):
        isopod.load(cut, env=environment(NEW), backend="torchscript")
    with pytest.raises(isopod.SpecError, match=r"load arguments are for callables; a model file takes none \(a\)"):
        isopod.load(new / "identity.pt", env=environment(NEW), args={"a": 1})
    with pytest.raises(isopod.SpecError, match="the torchscript backend has no option 'a'; it has none"):
        isopod.load(new / "identity.pt", env=environment(NEW), options={"a": 1})


@pytest.fixture(scope="module")
def declaring(_supervisor_at_rest: None, new: Path) -> Iterator[Any]:
    """Loads a script as a package would that declares its inputs and outputs."""
    from dataclasses import replace

    from isopod.runtime.target import Target

    parse = Target.parse
    with pytest.MonkeyPatch.context() as patch:

        def load(name: str, **sides: Any) -> isopod.Model:
            patch.setattr(Target, "parse", lambda *given: replace(parse(*given), **sides))
            return isopod.load(new / name, env=environment(NEW))

        yield load


def test_what_a_package_declares_names_the_output_and_must_fit(declaring: Any) -> None:
    spec = isopod.TensorSpec
    given, returned = (spec("x", "float32", ("n",)),), (spec("same", "float32", ("n",)),)
    with declaring("identity.pt", inputs=given, outputs=returned) as model:
        assert (model.inputs, model.outputs) == (given, returned)
        assert model(x=np.ones(2, np.float32))["same"].tolist() == [1, 1]
    with pytest.raises(isopod.SpecError, match="declares the input 'y', and the model has none of that name; it has x"):
        declaring("identity.pt", inputs=(spec("y"),))
    with pytest.raises(isopod.SpecError, match="declares the input 'scale' as int8, and the model has it as float32"):
        declaring("m.pt2", inputs=(spec("x"), spec("scale", "int8")))
