"""What a model says of one of its inputs or outputs: name, dtype and shape. The same on both sides of the wire."""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Optional, Tuple, Union

from isopod.ipc.errors import ProtocolError

Dim = Union[int, str, None]  # a size, a symbol that stands for one, or any
_MOST_DIMS = 64


class TensorSpec(NamedTuple):
    """One input or output.

    ``dtype`` is a name from the table in ``tensor`` (``"float32"``, ``"text"``), or ``""`` where the model does not
    say. ``shape`` has a size, a symbol (``"batch"``) or None (any size) for each dimension, and is None itself where
    not even the rank is known; ``()`` is a scalar. ``required`` is False for an input that may be left out.
    """

    name: str
    dtype: str = ""
    shape: Optional[Tuple[Dim, ...]] = None
    required: bool = True

    def fields(self) -> Dict[str, Any]:
        """As it crosses."""
        shape = None if self.shape is None else list(self.shape)
        return {"name": self.name, "dtype": self.dtype, "shape": shape, "required": self.required}

    @classmethod
    def of(cls, fields: Any) -> TensorSpec:
        """What ``fields`` made, read as if somebody hostile had written it. Raises ``ProtocolError``."""
        if type(fields) is not dict or fields.keys() != {"name", "dtype", "shape", "required"}:
            raise ProtocolError("the description of a tensor has the wrong form")
        name, dtype, shape, required = (fields[field] for field in ("name", "dtype", "shape", "required"))
        if type(name) is not str or type(dtype) is not str or type(required) is not bool:
            raise ProtocolError("the description of a tensor has the wrong form")
        if shape is None:
            return cls(name, dtype, None, required)
        if type(shape) is not list or len(shape) > _MOST_DIMS or not all(map(_is_dim, shape)):
            raise ProtocolError("the shape of a tensor has the wrong form")
        return cls(name, dtype, tuple(shape), required)


def _is_dim(dim: Any) -> bool:
    return dim is None or type(dim) is str or (type(dim) is int and dim >= 0)
