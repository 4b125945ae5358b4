"""What to load: a callable (``"path/to/model.py:Detector"``, ``"package.module:Detector"``) or a model file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from isopod.ipc.errors import SpecError
from isopod.ipc.spec import TensorSpec
from isopod.runtime.formats import BACKENDS, format_of, is_model_file

_OF_CALLABLES = ("python", "pytorch")  # backends that may be asked for a callable in a Python file


@dataclass(frozen=True)
class Overrides:
    """What the caller of ``load`` says of a model beside where it is; None or empty is what the file itself says.

    ``ops`` are paths of libraries of custom operations.
    """

    backend: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    ops: tuple[str | os.PathLike[str], ...] = ()

    def __bool__(self) -> bool:
        return self.backend is not None or bool(self.options) or bool(self.ops)


NO_OVERRIDES = Overrides()


@dataclass(frozen=True)
class Target:
    """What a worker is to load, and the backend that does it.

    For ``python``: a callable (``attribute``) in a Python file, or in a module of the model's environment. For the
    others: ``path``, a file or a folder in the framework's own format. ``ops`` are libraries of custom operations,
    loaded before the model; ``options`` are the backend's own. ``inputs`` and ``outputs`` are what a package declares,
    None where only the model itself can say it; ``versions`` are those of the framework that it is for
    (``pods.semver.bounds``), and ``on_cpu`` the inputs that it wants there even where it runs on a GPU. With ``pod``, a
    package on disk, only ``attribute``, its name, is known yet: the rest is in it, and is read each time that it is
    loaded. ``timed``: it times itself, for a benchmark.
    """

    attribute: str = ""
    file: Path | None = None
    module: str = ""
    backend: str = "python"
    path: Path | None = None
    ops: tuple[Path, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[TensorSpec, ...] | None = None
    outputs: tuple[TensorSpec, ...] | None = None
    versions: Mapping[str, Any] = field(default_factory=dict)
    on_cpu: tuple[str, ...] = ()
    pod: Path | None = None
    timed: bool = False

    @classmethod
    def parse(cls, text: str | os.PathLike[str], overrides: Overrides = NO_OVERRIDES) -> Target:
        """Raises ``SpecError`` where the form is wrong, the file is not there, or no backend knows it."""
        path = Path(text).expanduser().absolute()
        found = _of_model_file(path, overrides) if is_model_file(path) else cls._of_callable(os.fspath(text), overrides)
        return replace(
            found, options={**found.options, **overrides.options}, ops=(*found.ops, *map(_op, overrides.ops))
        )

    @classmethod
    def _of_callable(cls, text: str, overrides: Overrides) -> Target:
        source, _, attribute = text.rpartition(":")
        if not source or not attribute or not all(part.isidentifier() for part in attribute.split(".")):
            if ".py" not in text and (os.sep in text or os.path.splitext(text)[1]):
                raise SpecError(f"there is no file {Path(text).expanduser().absolute()}")
            raise SpecError(
                f"{text!r} does not say what to load; write 'path/to/model.py:Name', 'package.module:Name' or the path "
                "of a model file"
            )
        backend = overrides.backend or "python"
        if backend not in _OF_CALLABLES:
            raise SpecError(f"the {backend} backend loads a model file, not a callable such as {text!r}")
        if backend == "python" and (overrides.options or overrides.ops):
            raise SpecError(
                f"{text!r} is plain Python, which takes no options and loads its own libraries; give it args"
            )
        if source.endswith(".py") or os.sep in source:
            file = Path(source).expanduser().absolute()
            if not file.is_file():
                raise SpecError(f"there is no file {file} to load {attribute!r} from")
            return cls(attribute, file=file, backend=backend)
        if not all(part.isidentifier() for part in source.split(".")):
            raise SpecError(f"{source!r} is neither a .py file nor a module name")
        return cls(attribute, module=source, backend=backend)

    @property
    def name(self) -> str:
        """What the model is called, unless the caller gives it a name."""
        if self.pod is not None:
            return self.attribute
        if self.path is None:
            return self.attribute.rpartition(".")[2]
        return self.path.name if self.path.is_dir() else self.path.stem

    def fields(self) -> dict[str, Any]:
        """As they go to the child."""
        return {
            "backend": self.backend,
            "file": str(self.file) if self.file else "",
            "folder": str(self.file.parent) if self.file else str(self.options.get("code", "")),
            "module": self.module,
            "attribute": self.attribute,
            "path": str(self.path) if self.path else "",
            "ops": [str(library) for library in self.ops],
            "options": dict(self.options),
            "inputs": _described(self.inputs),
            "outputs": _described(self.outputs),
            "versions": dict(self.versions),
            "on_cpu": list(self.on_cpu),
            "timed": self.timed,
        }

    def __str__(self) -> str:
        if self.path is None and self.pod is None:
            return f"{self.file or self.module}:{self.attribute}"
        return str(self.path or self.pod)


def _of_model_file(path: Path, overrides: Overrides) -> Target:
    backend = overrides.backend
    if backend is None:
        return Target(backend=BACKENDS[format_of(path)], path=path)
    if backend not in _FOR_FILES:
        raise SpecError(f"there is no backend {backend!r} for model files; there are {', '.join(_FOR_FILES)}")
    return Target(backend=backend, path=path)


_FOR_FILES = sorted(set(BACKENDS.values()))


def _op(library: str | os.PathLike[str]) -> Path:
    path = Path(library).expanduser().absolute()
    if not path.is_file():
        raise SpecError(f"there is no library of custom operations {path}")
    return path


def _described(specs: tuple[TensorSpec, ...] | None) -> list[dict[str, Any]] | None:
    return None if specs is None else [spec.fields() for spec in specs]
