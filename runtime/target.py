"""What to load: ``"path/to/model.py:Detector"`` or ``"package.module:Detector"``, resolved and checked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isopod.ipc.errors import SpecError
from isopod.ipc.spec import TensorSpec


@dataclass(frozen=True)
class Target:
    """What a worker is to load, and the backend that does it.

    For ``python``: a callable (``attribute``) in a Python file, or in a module of the model's environment. For the
    others: ``path``, a file or a folder in the framework's own format. ``ops`` are libraries of custom operations,
    loaded before the model; ``options`` are the backend's own. ``inputs`` and ``outputs`` are what a package declares,
    None where only the model itself can say it. With ``pod``, a package on disk, only ``attribute``, its name, is known
    yet: the rest is in it, and is read each time that it is loaded.
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
    pod: Path | None = None

    @classmethod
    def parse(cls, text: str | os.PathLike[str]) -> Target:
        """Raises ``SpecError`` where the form is wrong or the file is not there."""
        source, _, attribute = os.fspath(text).rpartition(":")
        if not source or not attribute or not all(part.isidentifier() for part in attribute.split(".")):
            raise SpecError(
                f"{os.fspath(text)!r} does not say what to load; write 'path/to/model.py:Name' or 'package.module:Name'"
            )
        if source.endswith(".py") or os.sep in source:
            file = Path(source).expanduser().absolute()
            if not file.is_file():
                raise SpecError(f"there is no file {file} to load {attribute!r} from")
            return cls(attribute, file=file)
        if not all(part.isidentifier() for part in source.split(".")):
            raise SpecError(f"{source!r} is neither a .py file nor a module name")
        return cls(attribute, module=source)

    @property
    def name(self) -> str:
        """What the model is called, unless the caller gives it a name."""
        if self.pod is not None:
            return self.attribute
        return self.attribute.rpartition(".")[2] if self.path is None else self.path.stem

    def fields(self) -> dict[str, Any]:
        """As they go to the child."""
        return {
            "backend": self.backend,
            "file": str(self.file) if self.file else "",
            "folder": str(self.file.parent) if self.file else "",
            "module": self.module,
            "attribute": self.attribute,
            "path": str(self.path) if self.path else "",
            "ops": [str(library) for library in self.ops],
            "options": dict(self.options),
            "inputs": _described(self.inputs),
            "outputs": _described(self.outputs),
        }

    def __str__(self) -> str:
        if self.path is None and self.pod is None:
            return f"{self.file or self.module}:{self.attribute}"
        return str(self.path or self.pod)


def _described(specs: tuple[TensorSpec, ...] | None) -> list[dict[str, Any]] | None:
    return None if specs is None else [spec.fields() for spec in specs]
