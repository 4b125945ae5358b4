"""One call as rows: which of its inputs have a row for each item, and which must be the same for a whole batch.

The first dimension of an array is its rows. Whoever batches gives up nothing of what a call means: a model gets as many
rows as its callers sent, in arrays of the same dtype and the same further dimensions, and returns as many.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from isopod.ipc import plain, tensor
from isopod.ipc.errors import ModelError, SpecError
from isopod.ipc.spec import TensorSpec
from isopod.ipc.transfer import as_array
from isopod.runtime.problems.outcome import Verdict

Array = np.ndarray[Any, Any]
# Arrays without rows that are compared with others', in bytes; a call with a larger one is run by itself.
_MAX_CONSTANT = 1 << 16
TEXT_KINDS = "USOT"  # kinds of dtypes whose arrays are joined when a batch is sent: text is packed then, in any case
_FOR_ALL = (str, bytes, bool, int, float, type(None))  # what a model may say once for all rows


class Rows(NamedTuple):
    """The inputs of one call, taken apart. Calls with equal keys can stand in one batch.

    ``columns`` have ``size`` rows each; ``constants`` are copies. ``names`` are in the caller's order.
    """

    size: int
    names: tuple[str, ...]
    columns: dict[str, Array]
    constants: dict[str, Any]
    key: Hashable


class RowAxis:
    """Which inputs of one model have rows. ``who`` is the model, for messages. Safe for many threads."""

    def __init__(self, who: str, inputs: Iterable[TensorSpec], symbol: str) -> None:
        self._who = who
        self._symbol = symbol
        shapes = {spec.name: spec.shape for spec in inputs if spec.shape is not None}
        declared = any(shape[:1] == (symbol,) for shape in shapes.values())
        self._apart = frozenset(name for name, shape in shapes.items() if declared and shape[:1] != (symbol,))

    def rows(self, inputs: Mapping[str, Any]) -> Rows | None:
        """None for a call that is to be run by itself: it has no rows, or a large array without any.

        Raises ``SpecError`` where arrays disagree about how many rows there are, and for text that cannot be sent.
        """
        columns: dict[str, Array] = {}
        constants: dict[str, Any] = {}
        values: dict[str, Any] = {}
        key: list[Hashable] = []
        for name, value in inputs.items():
            array = as_array(value)
            if array is None:
                values[name] = value
            elif array.ndim and name not in self._apart:
                columns[name] = array
                dtype = array.dtype
                if dtype.kind in TEXT_KINDS:
                    if dtype.kind != "S":
                        tensor.pack_text(array, name)  # what cannot be packed would be an error of all its fellows
                    key.append((name, dtype.kind, array.shape[1:]))
                else:
                    key.append((name, dtype if dtype.isnative else dtype.newbyteorder("="), array.shape[1:]))
            elif array.nbytes > _MAX_CONSTANT or array.dtype.hasobject:
                return None
            else:
                constants[name] = kept = array.copy()
                key.append((name, kept.dtype, kept.shape, kept.tobytes()))
        if not columns:
            return None
        count = self._agreed(columns)
        if values:
            packed = plain.pack(values)
            constants.update(plain.unpack(packed))  # a copy: a list may be changed by the time that it is sent
            key.append(packed)
        return Rows(count, tuple(inputs), columns, constants, frozenset(key)) if count else None

    def _agreed(self, columns: dict[str, Array]) -> int:
        counts = {name: len(array) for name, array in columns.items()}
        count = next(iter(counts.values()))
        if any(other != count for other in counts.values()):
            told = ", ".join(f"{name!r} has {rows}" for name, rows in counts.items())
            raise SpecError(
                f"{self._who} batches its calls by the first dimension of each array, and these have different ones: "
                f"{told}. Where some of them have no rows, give it a problem in which those that do begin with "
                f"{self._symbol!r}"
            )
        return count

    def verdict(self, inputs: Mapping[str, Any], judge: Verdict | None) -> Verdict | None:
        """What is to look at the outputs of a call with these inputs: whether there is a row for each, then ``judge``.

        It is asked of every call of a model that batches, also of one that ran alone: or it would depend on the moment
        whether a model's outputs are accepted. Raises ``SpecError`` where arrays disagree about their rows.
        """
        count = -1
        for name, value in inputs.items():
            shape = getattr(value, "shape", None)
            if shape and name not in self._apart:
                if shape[0] != count != -1:
                    self.rows(inputs)  # which raises
                count = shape[0]
        return judge if count == -1 else functools.partial(self._judge, count, judge)

    def _judge(self, count: int, judge: Verdict | None, outputs: Mapping[str, Any]) -> ModelError | None:
        faults = row_faults(outputs, count)
        if faults:
            return self.error(faults)
        return None if judge is None else judge(outputs)

    def error(self, faults: list[str]) -> ModelError:
        return ModelError(f"{self._who} batches its calls, so each output has a row for each one: " + "; ".join(faults))


def row_faults(outputs: Mapping[str, Any], count: int) -> list[str]:
    """What cannot be divided among ``count`` rows, each in a sentence."""
    faults = []
    for name, value in outputs.items():
        if isinstance(value, np.ndarray):
            if value.shape[:1] != (count,):
                faults.append(f"output {name!r} is {value.dtype} {value.shape}, and {count} rows went in")
        elif not isinstance(value, _FOR_ALL):
            faults.append(f"output {name!r} is a {type(value).__name__}; return an array, or a value for all")
    return faults
