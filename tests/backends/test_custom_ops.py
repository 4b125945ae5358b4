"""Custom operations by path: loaded before the model, of several versions of a framework in one application.

And what is said of those that do not fit: the name that is missing, and what the library itself tells of its origin.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends.environments import environment
from backends.files import write
from conflicts.ops import FAMILIES, compiled

import isopod
from isopod.opeworker.ops import Ops, demangled

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.full, pytest.mark.timeout(900)]

TORCH, TENSORFLOW = FAMILIES
SERIES = np.array([[1, 3, 3]], np.float32)
SMOOTH = [[1, 2, 2.5]]


def library(framework: str, version: str) -> Path:
    environment(f"{framework} {version}")
    return compiled(TORCH if framework == "torch" else TENSORFLOW, version)


@pytest.fixture
def made(tmp_path: Path) -> Any:
    """The model file of a framework's version that uses the operation, with the library."""

    def make(framework: str, version: str, kind: str, name: str) -> tuple[Path, Path]:
        op = library(framework, version)
        write(tmp_path, framework, f"{framework} {version}", [(kind, name)], library=str(op))
        return tmp_path / name, op

    return make


def load(framework: str, version: str, path: Path, *ops: Path) -> isopod.Model:
    name = f"{framework} {version}"
    return isopod.load(path, env=environment(name), ops=ops, name=name)


def test_two_torches_with_an_operation_each_in_one_application(made: Any) -> None:
    old, old_op = made("torch", "1.12.1", "WithOp", "old.pt")
    new, new_op = made("torch", "2.13.0", "WithOp", "new.pt")
    again = new_op.with_name(f"again-{new_op.name}")
    try:
        again.symlink_to(new_op)
        with load("torch", "1.12.1", old, old_op) as one, load("torch", "2.13.0", new, new_op, new_op, again) as two:
            futures = [model.submit(series=SERIES) for model in (one, two)]
            assert [future.result(60)["smoothed"].tolist() for future in futures] == [SMOOTH, SMOOTH]
    finally:
        again.unlink(missing_ok=True)


def test_three_tensorflows_with_an_operation_each_in_one_application(made: Any) -> None:
    files = {
        "1.15.5": made("tensorflow", "1.15.5", "graph with_op", "one.pb"),
        "2.12.1": made("tensorflow", "2.12.1", "saved_model with_op", "two"),
        "2.15.1": made("tensorflow", "2.15.1", "graph with_op", "three.pb"),
    }
    models = [load("tensorflow", version, path, op) for version, (path, op) in files.items()]
    try:
        answers = [future.result(60) for future in [model.submit(series=SERIES) for model in models]]
    finally:
        for model in models:
            model.close()
    for answer, version in zip(answers, files, strict=True):
        assert answer["smoothed"].tolist() == SMOOTH
        assert str(answer["built_for"]) == version


def test_a_model_whose_operation_is_not_given_says_how_to_give_it(made: Any) -> None:
    path, _ = made("torch", "2.13.0", "WithOp", "new.pt")
    with pytest.raises(
        isopod.SpecError, match=r"isopod_conflicts::smooth, which nobody has registered; .*ops=\['lib….so'\]"
    ):
        load("torch", "2.13.0", path)
    path, _ = made("tensorflow", "2.15.1", "graph with_op", "three.pb")
    with pytest.raises(isopod.SpecError, match="Op type not registered 'IsopodSmooth'"):
        load("tensorflow", "2.15.1", path)


@pytest.mark.parametrize(
    ("framework", "built", "loaded", "facts"),
    [
        ("torch", "1.12.1", "2.13.0", r"it needs '.*(at|c10|torch)::.*', which torch 2\.13\.0\S* does not have"),
        ("torch", "2.13.0", "1.12.1", r"it needs '.*(at|c10|torch)::.*', which torch 1\.12\.1\S* does not have"),
        (
            "tensorflow",
            "2.12.1",
            "2.15.1",
            r"needs '.*tensorflow::.*', which tensorflow 2\.15\.1 .* with TensorFlow 2\.x",
        ),
        ("tensorflow", "1.15.5", "2.15.1", r"linked with TensorFlow 1\.x"),
    ],
)
def test_an_operation_of_another_version_is_explained(
    made: Any, framework: str, built: str, loaded: str, facts: str
) -> None:
    kind, name = ("WithOp", "m.pt") if framework == "torch" else ("graph with_op", "m.pb")
    path, _ = made(framework, loaded, kind, name)
    op = library(framework, built)
    with pytest.raises(isopod.SpecError, match=facts) as caught:
        load(framework, loaded, path, op)
    assert str(op) in str(caught.value)
    assert "compile it with this version's headers" in str(caught.value)


def test_a_library_that_is_none_or_cut_short(made: Any, tmp_path: Path) -> None:
    path, op = made("torch", "2.13.0", "WithOp", "m.pt")
    text, cut = tmp_path / "text.so", tmp_path / "cut.so"
    text.write_text("no library")
    cut.write_bytes(op.read_bytes()[:3000])
    for wrong, fact in ((text, "not a shared library"), (cut, "cut short")):
        with pytest.raises(isopod.SpecError, match=fact):
            load("torch", "2.13.0", path, wrong)


def test_operations_for_onnx_runtime(tmp_path: Path) -> None:
    """onnxruntime-extensions is a library of operations that its own package also offers by path."""
    env = "onnxruntime 1.23"
    write(tmp_path, "onnx", env, [("upper", "upper.onnx")])
    from isopod.runtime.environment import prepare

    (site, *_) = prepare(environment(env)).site_dirs
    (found,) = site.glob("onnxruntime_extensions/_extensions_pydll*.so")
    op = tmp_path / "libextensions.so"
    shutil.copy(found, op)
    with isopod.load(tmp_path / "upper.onnx", env=environment(env), ops=[op]) as model:
        assert model(x=np.array(["loud"]))["y"].tolist() == ["LOUD"]
    with pytest.raises(isopod.SpecError, match="StringUpper"):
        isopod.load(tmp_path / "upper.onnx", env=environment(env))
    with pytest.raises(isopod.SpecError, match=r"cannot be loaded by onnxruntime 1\.23"):
        isopod.load(tmp_path / "upper.onnx", env=environment(env), ops=[library("torch", "2.13.0")])


@pytest.mark.parametrize(
    ("symbol", "cxx11", "fact"),
    [
        (
            "_ZN3c105ErrorC1ERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE",
            False,
            "newer C.. ABI, and .* older",
        ),
        ("_ZN3c105ErrorC1ERKSs", True, "older C.. ABI, and .* newer"),
        ("_ZN3c105ErrorC1ESt17basic_string_viewIcSt11char_traitsIcEE", True, None),
        ("_ZN2at5emptyERKSt6vectorIlSaIlEE", True, None),
        ("_ZN3c105ErrorC1ERKSs", None, None),
    ],
)
def test_the_abi_is_told_where_a_name_shows_it(symbol: str, cxx11: bool | None, fact: str | None) -> None:
    told = Ops("torch 9", cxx11).explain("lib.so", ["libtorch.so"], f"lib.so: undefined symbol: {symbol}")
    assert "which torch 9 does not have" in told
    assert (fact is not None and re.search(fact, told) is not None) or (fact is None and "ABI" not in told)


def test_names_are_demangled() -> None:
    assert demangled("_ZN2at5emptyEv") == "'at::empty()'"
    assert demangled("plain_c_name") == "'plain_c_name'"
