"""What a model file is, told by its content: nothing is loaded here, and most files are a few bytes."""

from __future__ import annotations

import pickle
import re
import zipfile
from pathlib import Path

import pytest
from repository import ROOT

import isopod
from isopod.runtime.formats import BACKENDS, format_of
from isopod.runtime.target import Overrides, Target

ONNX = b"\x08\x08\x3a\x02\x0a\x00\x42\x02\x10\x0d"  # ir_version 8, a graph, a set of operators
GRAPH = b"\x0a\x03\x0a\x01x\x22\x03\x08\xab\x13"  # one node, versions


def test_the_page_has_each_backend_with_its_options_and_each_ending() -> None:
    page = (ROOT / "docs/formats.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("|")]
    for backend in set(BACKENDS.values()):
        source = (ROOT / f"opeworker/backends/{backend}.py").read_text(encoding="utf-8")
        stated = re.findall(r"take_options\(\"(.*)\"\)|_OPTIONS = \((.*)\)|known = (.*)", source)
        options = re.findall(r'"(\w+)"', " ".join(f'"{part}"' for parts in stated for part in parts if part))
        mine = " ".join(row for row in rows if f"| `{backend}` |" in row)
        assert mine
        assert [option for option in options if f"`{option}`" not in mine] == []


def zipped(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return path


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["m/data.pkl", "m/code/__torch__.py", "m/constants.pkl", "m/version"], "torchscript"),
        (["m/archive_format", "m/models/model.json"], "torch.export"),
        (["version", "serialized_exported_program.json", "serialized_state_dict.json"], "torch.export"),
        (["config.json", "metadata.json", "model.weights.h5"], "keras"),
        (["schema.json", "1.npy"], "skops"),
    ],
)
@pytest.mark.parametrize("ending", [".zip", ".pt", ".h5"])
def test_a_zip_is_known_by_what_is_in_it(tmp_path: Path, names: list[str], expected: str, ending: str) -> None:
    assert format_of(zipped(tmp_path / f"m{ending}", *names)) == expected


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("m.h5", b"\x89HDF\r\n\x1a\n" + bytes(90), "hdf5"),
        ("m", b"\x89HDF\r\n\x1a\n" + bytes(90), "hdf5"),
        ("m.pkl", pickle.dumps([1]), "pickle"),
        ("m.joblib", pickle.dumps([1]), "joblib"),
        ("m.joblib", b"x\x9c" + bytes(50), "joblib"),
        ("m.dat", pickle.dumps([1]), "pickle"),
        ("m.onnx", ONNX, "onnx"),
        ("m.dat", ONNX, "onnx"),
        ("m.pb", GRAPH, "frozen graph"),
        ("m.engine", b"ftrt" + bytes(60), "tensorrt"),
        ("m.PLAN", b"ftrt" + bytes(60), "tensorrt"),
    ],
)
def test_a_file_is_known_by_its_bytes_and_then_by_its_ending(
    tmp_path: Path, name: str, data: bytes, expected: str
) -> None:
    assert format_of(written(tmp_path / name, data)) == expected
    assert expected in BACKENDS


def test_a_folder_is_a_saved_model(tmp_path: Path) -> None:
    with pytest.raises(isopod.SpecError, match="no SavedModel: it has no saved_model"):
        format_of(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"")
    assert format_of(tmp_path) == "saved_model"
    with pytest.raises(isopod.SpecError, match=rf"one file of a SavedModel; load its folder, {tmp_path}"):
        format_of(tmp_path / "saved_model.pb")


@pytest.mark.parametrize(
    ("name", "data", "facts"),
    [
        ("m.pt", b"hello there\n", "is called .pt but is not a zip, as such files are: it is text, 'hello there"),
        ("m.pt2", b"", "it is empty"),
        ("m.keras", b"\x00\x01\x02\x03", "its first bytes are 00 01 02 03"),
        ("m.h5", b"text", "is not an HDF5 file: it is text"),
        ("m.pkl", b"a,b,c\n1,2,3\n", "is no pickle: it is text"),
        ("m.onnx", b"hello there\n", "it is text"),
        ("m.onnx", ONNX[:-1], "ends 1 bytes too early"),
        ("m.onnx", GRAPH, "holds no graph"),
        ("m.pb", GRAPH[:4], "ends 1 bytes too early"),
        ("m.pb", b"text", "it is text"),
        ("m.pt", b"PK\x03\x04" + bytes(40), "begins like a zip and is not whole .*cut short"),
        ("m.bin", b"\x00\x01", r"no format that is known here \(.*\.onnx.*backend="),
        ("m.pt", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "written by torch.save .*torch.jit.save"),
    ],
)
def test_what_a_file_is_not_is_said(tmp_path: Path, name: str, data: bytes, facts: str) -> None:
    path = written(tmp_path / name, data)
    with pytest.raises(isopod.SpecError, match=facts) as caught:
        Target.parse(path)
    assert str(path) in str(caught.value)


def test_weights_alone_are_no_model(tmp_path: Path) -> None:
    path = zipped(tmp_path / "m.pt", "m/data.pkl", "m/version", "m/data/0")
    with pytest.raises(isopod.SpecError, match=r"weights or a pickled object.*torch\.jit\.save.*torch\.export\.save"):
        isopod.load(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for text in (f"{tmp_path}/m.pt", "m.onnx"):
        with pytest.raises(isopod.SpecError, match=r"there is no file .*m\.(pt|onnx)"):
            isopod.load(text)


def test_a_caller_may_know_better(tmp_path: Path) -> None:
    path = written(tmp_path / "model", b"\x00")
    op = written(tmp_path / "libop.so", b"\x7fELF")
    target = Target.parse(path, Overrides("onnx", {"providers": ["x"]}, (op,)))
    assert (target.backend, target.path, target.ops, target.options) == ("onnx", path, (op,), {"providers": ["x"]})
    assert target.name == "model"
    for overrides, fact in (
        (Overrides("tf"), "no backend 'tf' for model files; there are keras, onnx"),
        (Overrides("onnx", ops=(tmp_path / "no.so",)), "no library of custom operations .*no.so"),
    ):
        with pytest.raises(isopod.SpecError, match=fact):
            Target.parse(path, overrides)


@pytest.mark.parametrize(
    ("overrides", "fact"),
    [
        (Overrides("onnx"), "the onnx backend loads a model file, not a callable"),
        (Overrides(options={"a": 1}), "plain Python, which takes no options"),
    ],
)
def test_a_callable_takes_what_callables_take(tmp_path: Path, overrides: Overrides, fact: str) -> None:
    (tmp_path / "m.py").write_text("def f(x): return x\n")
    with pytest.raises(isopod.SpecError, match=fact):
        Target.parse(f"{tmp_path}/m.py:f", overrides)
    assert Target.parse(f"{tmp_path}/m.py:f", Overrides("pytorch")).backend == "pytorch"
