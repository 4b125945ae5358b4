"""What a pod says it is: its two ``config.json`` and our ``isopod.toml``, read and checked before anything else is.

Nothing runs here, nothing is unpacked, and no more than these small files is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from isopod.ipc.errors import SpecError
from isopod.ipc.spec import TensorSpec

from . import layout, section, semver, specs
from .contents import Contents, read_text
from .documents import parse_json
from .section import Section

_DEVICES = ("CPU", "GPU")
_OWN: Mapping[str, tuple[tuple[str, type], ...]] = {
    layout.PYTHON: (("entrypoint_package", str), ("entrypoint", str)),
    layout.TENSORFLOW: (("node_name_mapping", dict), ("init_op_names", list)),
    layout.TORCH: (),
    **dict.fromkeys(layout.OF_FILES, (("model", str),)),
}


@dataclass(frozen=True)
class Config:
    """``versions`` is a range as npm writes it; ``own`` is the platform's own; ``devices`` are those of the inputs."""

    name: str
    platform: str
    versions: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    ops: tuple[str, ...]
    devices: Mapping[str, str]
    own: Mapping[str, Any]
    section: Section


def read(contents: Contents) -> Config:
    """Raises ``SpecError`` that names the pod, and what in it is wrong."""
    where = f"{contents.place}: {layout.CONFIG}"
    if layout.CONFIG not in contents.sizes:
        raise SpecError(f"{contents.place} is no pod: {_missing(contents)}")
    document = parse_json(read_text(contents, layout.CONFIG), where)
    if not isinstance(document, dict):
        raise SpecError(f"{where} is not an object")
    name, platform = document.get("name"), document.get("platform")
    if not isinstance(name, str) or not name:
        raise SpecError(f"{where}: name is {name!r:.40}, not a name")
    if platform not in layout.PLATFORMS:
        raise SpecError(f"{where}: the platform {platform!r:.40} is not known; there are {', '.join(layout.PLATFORMS)}")
    versions = document.get("platform_version_semver", "*")
    try:
        semver.alternatives(versions)
    except SpecError as error:
        raise SpecError(f"{where}: platform_version_semver: {error}") from None
    # Neuropod accepts missing inputs: what a model does without one is its own affair; models of our platforms say it
    required = platform in layout.OF_FILES
    inputs = specs.read(document.get("input_spec"), f"{where}: input_spec", required=required)
    outputs = specs.read(document.get("output_spec"), f"{where}: output_spec")
    return Config(
        name,
        platform,
        versions,
        inputs,
        outputs,
        _ops(document.get("custom_ops", []), where, contents),
        _devices(document.get("input_tensor_device", {}), inputs, where),
        _own(contents, platform),
        section.read(contents),
    )


def _ops(names: object, where: str, contents: Contents) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise SpecError(f"{where}: custom_ops is not a list of file names")
    for name in names:
        if name != PurePosixPath(name).name or f"{layout.OPS}/{name}" not in contents.sizes:
            raise SpecError(f"{where}: the custom op {name!r} is no file in {layout.OPS}/")
    return tuple(names)


def _devices(given: object, inputs: tuple[TensorSpec, ...], where: str) -> dict[str, str]:
    if not isinstance(given, dict) or not all(device in _DEVICES for device in given.values()):
        raise SpecError(f"{where}: input_tensor_device does not say CPU or GPU for each input")
    names = [spec.name for spec in inputs]
    for name in given:
        if name not in names:
            raise SpecError(f"{where}: input_tensor_device names {name!r:.40}, which is no input")
    return {name: given.get(name, "GPU") for name in names}


def _own(contents: Contents, platform: str) -> dict[str, Any]:
    fields = _OWN[platform]
    if layout.PLATFORM_CONFIG not in contents.sizes:
        if _must_say(platform):
            what = "entry point" if platform == layout.PYTHON else "model's file"
            raise SpecError(f"{contents.place} has no {layout.PLATFORM_CONFIG}, which names its {what}")
        return {}
    where = f"{contents.place}: {layout.PLATFORM_CONFIG}"
    document = parse_json(read_text(contents, layout.PLATFORM_CONFIG), where)
    if not isinstance(document, dict):
        raise SpecError(f"{where} is not an object")
    for field, kind in fields:
        value = document.get(field)
        if value is None and not _must_say(platform):
            continue
        texts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
        if not isinstance(value, kind) or not all(isinstance(text, str) for text in texts):
            raise SpecError(f"{where}: {field} is {value!r:.60}, not {'text' if kind is str else 'names'}")
    own = {field: document[field] for field, _ in fields if document.get(field) is not None}
    if platform == layout.PYTHON:
        _check_entry(own, where, contents)
    if platform in layout.OF_FILES:
        own["options"] = _options(document, own["model"], where, contents)
    return own


def _must_say(platform: str) -> bool:
    return platform == layout.PYTHON or platform in layout.OF_FILES


def _options(document: Mapping[str, Any], model: str, where: str, contents: Contents) -> dict[str, Any]:
    """The backend's, which checks them; and that the model and the files that ``imports`` names are of the pod."""
    options = document.get("options", {})
    if not isinstance(options, dict):
        raise SpecError(f"{where}: options is {options!r:.60}, not an object")
    imports = options.get("imports", [])
    if not isinstance(imports, list):
        raise SpecError(f"{where}: imports is {imports!r:.60}, not a list of files in {layout.CODE}/")
    for folder, name in ((layout.DATA, model), *((layout.CODE, name) for name in imports)):
        if not isinstance(name, str) or f"{folder}/{name}" not in contents.sizes:
            raise SpecError(f"{where}: {name!r:.60} is no file in {folder}/")
    return options


def _check_entry(own: Mapping[str, str], where: str, contents: Contents) -> None:
    package, entry = own["entrypoint_package"], own["entrypoint"]
    if not entry.isidentifier() or not all(part.isidentifier() for part in package.split(".")):
        raise SpecError(f"{where}: {package}.{entry} is not the name of a function in a module")
    stem = f"{layout.CODE}/{package.replace('.', '/')}"
    modules = [f"{stem}.py", f"{stem}/__init__.py"]
    compiled = any(name.startswith(f"{stem}.") and name.endswith(".so") for name in contents.sizes)
    if not compiled and not any(name in contents.sizes for name in modules):
        raise SpecError(f"{where}: the entry point {package}.{entry} is not there: the pod has no {modules[0]}")


def _missing(contents: Contents) -> str:
    below = [name for name in contents.sizes if name.endswith(f"/{layout.CONFIG}") and name.count("/") == 1]
    if below:
        return f"its {layout.CONFIG} is in the folder {below[0].split('/')[0]!r}; it belongs at the top"
    return f"there is no {layout.CONFIG} in it"
