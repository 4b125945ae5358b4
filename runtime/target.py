"""What to load: ``"path/to/model.py:Detector"`` or ``"package.module:Detector"``, resolved and checked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from isopod.ipc.errors import SpecError


@dataclass(frozen=True)
class Target:
    """A callable in a Python file, or in a module of the model's environment."""

    attribute: str
    file: Path | None = None
    module: str = ""

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
        return self.attribute.rpartition(".")[2]

    def fields(self) -> dict[str, str]:
        """As they go to the child."""
        return {
            "file": str(self.file) if self.file else "",
            "folder": str(self.file.parent) if self.file else "",
            "module": self.module,
            "attribute": self.attribute,
        }

    def __str__(self) -> str:
        return f"{self.file or self.module}:{self.attribute}"
