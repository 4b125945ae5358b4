"""``Problem``: a named, versioned interface that several models implement, so that one can stand in for another."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isopod.ipc.errors import SpecError
from isopod.runtime.problems import document
from isopod.runtime.problems.fields import Field, Input, Output, symbols_of


@dataclass(frozen=True)
class Problem:
    """What callers of a kind of model may rely on, whoever implements it.

    A symbol in the shapes of the inputs is one size in each call, and so is one in the shapes of the outputs. The two
    are apart, unless the symbol is in ``shared``: then the outputs have the size that the inputs had. Names and order
    do not matter to a model; extra outputs are welcome, extra inputs are not. Raises ``SpecError``. ::

        detector = isopod.Problem(
            "detector",
            "1.0",
            inputs=[
                isopod.Input("image", "uint8", ("batch", None, None, 3)),
                isopod.Input("threshold", "float32", (), default=0.5),
            ],
            outputs=[isopod.Output("boxes", "float32", ("batch", "boxes", 4), rtol=1e-4)],
            shared=["batch"],
        )
        model = isopod.load("net.py:Net", problem=detector)
    """

    name: str
    version: str = ""
    inputs: Sequence[Input] = ()
    outputs: Sequence[Output] = ()
    shared: Sequence[str] = ()
    description: str = ""

    def __post_init__(self) -> None:
        for field in ("name", "version", "description"):
            if not isinstance(getattr(self, field), str):
                raise SpecError(f"problem {self.name!r}: its {field} is text, not {getattr(self, field)!r}")
        if not self.name:
            raise SpecError("a problem has a name, and this one is empty")
        for field, kind in (("inputs", Input), ("outputs", Output)):
            object.__setattr__(self, field, self._checked(field, kind))
        shared: object = self.shared
        if not isinstance(shared, tuple | list) or not all(isinstance(symbol, str) for symbol in shared):
            raise SpecError(f"{self}: shared is a list of symbols, not {self.shared!r}")
        object.__setattr__(self, "shared", tuple(self.shared))
        for symbol in self.shared:
            for field, fields in (("input", self.inputs), ("output", self.outputs)):
                if symbol not in symbols_of(fields):
                    raise SpecError(f"{self}: the symbol {symbol!r} is shared, but is in the shape of no {field}")

    def __str__(self) -> str:
        return f"problem {self.name!r}" + (f" {self.version}" if self.version else "")

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Problem:
        """Read one from a file, as ``to_toml`` writes it. Raises ``SpecError`` with the file and the line. ::

        name = "detector"
        version = "1.0"
        shared = ["batch"]

        [[inputs]]
        name = "image"
        dtype = "uint8"
        shape = ["batch", "?", "?", 3]     # "?" is any size; without a shape: any rank

        [[outputs]]
        name = "boxes"
        dtype = "float32"
        shape = ["batch", "boxes", 4]
        rtol = 1e-4
        """
        return document.read(Path(path), cls.from_dict)

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Problem:
        """From the tables of such a file, as a TOML or JSON reader gives them. Raises ``SpecError``."""
        return cls(**document.arguments(table, Input, Output))

    def to_toml(self, path: str | os.PathLike[str] | None = None) -> str:
        """As TOML, also written to ``path`` if given. Raises ``SpecError`` for a default that TOML cannot hold."""
        return document.write(self.to_dict(), None if path is None else Path(path))

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``from_dict``. What is as if it were not said is left out."""
        return document.tables(self)

    def _checked(self, field: str, kind: type[Field]) -> tuple[Any, ...]:
        items = getattr(self, field)
        if isinstance(items, str | Mapping) or not all(isinstance(item, kind) for item in items):
            raise SpecError(f"{self}: {field} is a list of isopod.{kind.__name__}, not {items!r:.200}")
        twice = [name for name, number in Counter(item.name for item in items).items() if number > 1]
        if twice:
            raise SpecError(f"{self}: there are two {field} with the name {twice[0]!r}")
        return tuple(items)
