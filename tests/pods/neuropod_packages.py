"""Neuropod packages as its documentation describes them, byte by byte: with zipfile and json, and nothing of ours."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Spec = dict[str, Any]
Files = dict[str, bytes]

X_AND_Y = [{"name": "x", "dtype": "float32", "shape": ["batch"]}, {"name": "y", "dtype": "float32", "shape": ["batch"]}]
OUT = [{"name": "out", "dtype": "float32", "shape": ["batch"]}]

ADDITION = """\
def addition_model(x, y):
    return {"out": x + y}


def get_model(_):
    return addition_model
"""


def config(platform: str, inputs: Sequence[Spec] = X_AND_Y, outputs: Sequence[Spec] = OUT, **more: Any) -> bytes:
    document: dict[str, Any] = {
        "name": "addition_model",
        "platform": platform,
        "platform_version_semver": "*",
        "input_spec": list(inputs),
        "output_spec": list(outputs),
        "custom_ops": [],
        "input_tensor_device": {item["name"]: "GPU" for item in inputs},
        **more,
    }
    return json.dumps(document, indent=4).encode()


def python_package(
    code: Mapping[str, str], entrypoint_package: str, entrypoint: str = "get_model", requirements: str = "", **more: Any
) -> Files:
    """``more`` goes into ``config.json``."""
    files = {
        "config.json": config("python", **more),
        "0/config.json": json.dumps({"entrypoint": entrypoint, "entrypoint_package": entrypoint_package}).encode(),
        "0/code/__init__.py": b"",
        **{f"0/code/{name}": text.encode() for name, text in code.items()},
    }
    if requirements:
        files["0/requirements.lock"] = requirements.encode()
    return files


def addition(**more: Any) -> Files:
    return python_package({"addition_model.py": ADDITION}, "addition_model", **more)


def with_manifest(files: Files) -> Files:
    listed = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    text = json.dumps({"manifest_version": 1, "files": listed}, sort_keys=True)
    return {**files, "manifest.json": text.encode()}


def as_folder(files: Files, place: Path) -> Path:
    for name, data in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    return place


def as_zip(files: Files, place: Path) -> Path:
    """Sorted, with one time for all, as its packager does it."""
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, files[name])
    return place
