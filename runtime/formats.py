"""What a model file is, seen from its content first and from its ending only where the content does not say it.

Nothing of a file is run or unpickled here: a few bytes are read, a zip's list of names, the outermost fields of a
protobuf. Which backend loads which file is the table in ``BACKENDS``. Sources: the layouts of ``torch.jit.save``,
``torch.export.save`` and ``torch.save``, saved_model.proto, graph.proto, onnx.proto, Keras's saving_lib, skops.io.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from isopod.ipc.errors import SpecError

# format → the backend that loads it
BACKENDS = {
    "torchscript": "torchscript",
    "torch.export": "pytorch",
    "saved_model": "tensorflow",
    "frozen graph": "tensorflow",
    "keras": "keras",
    "hdf5": "keras",
    "onnx": "onnx",
    "joblib": "sklearn",
    "pickle": "sklearn",
    "skops": "sklearn",
    "tensorrt": "tensorrt",
}
_ENDINGS = {
    ".pt": "torchscript", ".pth": "torchscript", ".ts": "torchscript", ".pt2": "torch.export", ".onnx": "onnx",
    ".pb": "frozen graph", ".keras": "keras", ".h5": "hdf5", ".hdf5": "hdf5", ".joblib": "joblib", ".pkl": "pickle",
    ".pickle": "pickle", ".skops": "skops", ".engine": "tensorrt", ".plan": "tensorrt",
}  # fmt: skip
_ZIPS = frozenset(("torchscript", "torch.export", "keras", "skops"))
_PROTOBUFS = {"onnx": 7, "frozen graph": 1}  # the field that such a message must have: ModelProto.graph, GraphDef.node

_HDF5 = b"\x89HDF\r\n\x1a\n"
_PICKLE = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_COMPRESSED = (b"x\x01", b"x^", b"x\x9c", b"x\xda", b"\x1f\x8b", b"BZ", b"]\x00\x00", b"\xfd7zXZ", b"\x04\x22M\x18")
_OLD_CHECKPOINT = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before 1.6 begins with this number
_CHECKPOINT = (
    "it was written by torch.save and holds weights or a pickled object, not a program: save the model with "
    "torch.jit.save(torch.jit.script(model), …) or torch.export.save(…), or write a Python file that makes the network "
    "and loads these weights, and load that"
)


def is_model_file(path: Path) -> bool:
    """Whether a path is to be loaded by its content: a file that is not Python, or a folder."""
    return path.is_dir() or (path.is_file() and path.suffix != ".py")


def format_of(path: Path) -> str:
    """The format of a file or a folder, by the names in ``BACKENDS``. Raises ``SpecError`` that says what it is not."""
    try:
        found = _of_folder(path) if path.is_dir() else _of_file(path)
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}") from error
    if found is None:
        raise SpecError(
            f"{path} is in no format that is known here ({', '.join(sorted(_ENDINGS))}, or a SavedModel's folder); if "
            "you know which framework wrote it, say load(…, backend=…)"
        )
    return found


def _of_folder(path: Path) -> str:
    if (path / "saved_model.pb").is_file() or (path / "saved_model.pbtxt").is_file():
        return "saved_model"
    raise SpecError(f"the folder {path} is no SavedModel: it has no saved_model.pb")


def _of_file(path: Path) -> str | None:
    named = _ENDINGS.get(path.suffix.lower())
    with path.open("rb") as file:
        head = file.read(64)
        if head.startswith(b"PK\x03\x04"):
            return _of_zip(path)
        if head.startswith(_HDF5):
            return "hdf5"
        if head.startswith(_OLD_CHECKPOINT):
            raise SpecError(f"{path} cannot be run: {_CHECKPOINT}")
        if head.startswith(_PICKLE):
            return named if named in ("pickle", "joblib") else "pickle"
        if named in _PROTOBUFS:
            _check_protobuf(path, file, named)
            return named
        if named is None:
            return _of_protobuf(file)
    if named in _ZIPS or named == "hdf5":
        kind = "an HDF5 file" if named == "hdf5" else "a zip, as such files are"
        raise SpecError(f"{path} is called {path.suffix} but is not {kind}: {_shown(head)}")
    if named in ("pickle", "joblib") and head[:1].isalnum() and not _compressed(head):
        raise SpecError(f"{path} is called {path.suffix} but is no pickle: {_shown(head)}")
    return named


def _of_zip(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise SpecError(f"{path} begins like a zip and is not whole ({error}): it was cut short or damaged") from None
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner and any(name.startswith("code/") for name in inner):
        return "torchscript"
    if "archive_format" in inner or "serialized_exported_program.json" in {*names, *inner}:
        return "torch.export"
    if "data.pkl" in inner:
        raise SpecError(f"{path} cannot be run: {_CHECKPOINT}")
    if {"config.json", "metadata.json"} <= set(names):
        return "keras"
    return "skops" if "schema.json" in names else None


def _compressed(head: bytes) -> bool:
    """joblib compresses with zlib, gzip, bz2, lzma, xz or lz4."""
    return head.startswith(_COMPRESSED)


def _shown(head: bytes) -> str:
    if not head:
        return "it is empty"
    text = head.decode("ascii", "replace")
    if text.isprintable() or not set(text) - set(map(chr, range(32, 127))) - set("\r\n\t"):
        return f"it is text, {text[:30]!r} …"
    return f"its first bytes are {head[:8].hex(' ')}"


# ------------------------------------------------------------------ protobuf


class _Malformed(Exception):
    """Not the outermost fields of a protobuf message that is whole."""


def _check_protobuf(path: Path, file: BinaryIO, kind: str) -> None:
    try:
        fields = set(_fields(file))
    except _Malformed as why:
        raise SpecError(f"{path} is called {path.suffix} but {why}: {_shown_start(file)}") from None
    if path.name == "saved_model.pb":
        raise SpecError(f"{path} is one file of a SavedModel; load its folder, {path.parent}")
    if _PROTOBUFS[kind] in fields:
        return
    raise SpecError(f"{path} is called {path.suffix} but holds no graph: {_shown_start(file)}")


def _of_protobuf(file: BinaryIO) -> str | None:
    """An ONNX model without its ending: a version (1), a graph (7) and sets of operators (8)."""
    try:
        return "onnx" if {1, 7, 8} <= set(_fields(file)) else None
    except _Malformed:
        return None


def _shown_start(file: BinaryIO) -> str:
    file.seek(0)
    return _shown(file.read(64))


def _fields(file: BinaryIO) -> Iterator[int]:
    """The numbers of a message's outermost fields, read by jumping over their contents."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    while file.tell() < size:
        key = _varint(file)
        number, wire = key >> 3, key & 7
        if not 0 < number < 1000 or wire not in (0, 1, 2, 5):
            raise _Malformed("is not in that format")
        length = {1: 8, 5: 4}.get(wire, 0)
        if wire == 0:
            _varint(file)
        elif wire == 2:
            length = _varint(file)
        if file.tell() + length > size:
            raise _Malformed(f"ends {file.tell() + length - size} bytes too early, so it was cut short or is not in it")
        file.seek(length, os.SEEK_CUR)
        yield number


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise _Malformed("ends in the middle of a number")
        value |= (byte[0] & 0x7F) << shift
        if not byte[0] & 0x80:
            return value
    raise _Malformed("is not in that format")
