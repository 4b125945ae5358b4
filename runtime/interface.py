"""What a model takes and gives, as it said when it was loaded: what each call is checked against before it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isopod.ipc.errors import SpecError
from isopod.ipc.spec import TensorSpec


class Interface:
    """``inputs`` and ``outputs`` of a model; ``fields`` are those of a checked ``ready`` message."""

    def __init__(self, model: str, fields: Mapping[str, Any]) -> None:
        self.inputs = tuple(TensorSpec.of(item) for item in fields["inputs"])
        self.outputs = tuple(TensorSpec.of(item) for item in fields["outputs"])
        self.model = model
        self._any = bool(fields["open"])
        self._known = dict.fromkeys(item.name for item in self.inputs).keys()
        self._required = [item.name for item in self.inputs if item.required]

    @classmethod
    def unknown(cls, model: str) -> Interface:
        """Of a model that is not loaded yet."""
        return cls(model, {"inputs": [], "outputs": [], "open": True})

    def check_name(self, name: str) -> None:
        """Raises ``SpecError`` for an input that the model does not take."""
        if not self._any and name not in self._known:
            takes = ", ".join(self._known) or "no inputs at all"
            raise SpecError(f"model {self.model!r} has no input {name!r}; it takes {takes}")

    def check(self, inputs: Mapping[str, Any]) -> None:
        """Raises ``SpecError`` for names that the model does not take, and for those that it misses."""
        if inputs.keys() == self._known:
            return
        for name in inputs:
            if not isinstance(name, str):
                raise SpecError(f"model {self.model!r}: inputs are given by name, which is str, not {name!r}")
            self.check_name(name)
        for name in self._required:
            if name not in inputs:
                raise SpecError(f"model {self.model!r} needs the input {name!r}, which was not given")
