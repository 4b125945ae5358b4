"""How far two answers are apart: element by element, whatever they are made of.

Errors are those of ``value`` against ``reference``: absolute, relative to the reference where that is not zero, and in
units in the last place (ULP), the number of representable values from one to the other. Two NaN agree, and so do two
equal infinities; any other pair with one of these is counted by itself and is beyond every tolerance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from isopod.ipc.transfer import as_array
from isopod.runtime.problems.fields import Tolerance

_NOTED = 3  # differences in structure
SHOWN = 5  # mismatches that are kept with their positions
_KEPT_A_SAMPLE, _KEPT = 2_000, 40_000  # errors that are kept for pictures
_EXTENDED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


@dataclass(frozen=True)
class Mismatch:
    """One element that is not near enough: in which sample, where, and what is there."""

    sample: str
    index: tuple[int, ...]
    reference: Any
    value: Any


@dataclass
class Agreement:
    """One output of one implementation against the reference, over all samples so far.

    ``max_abs``, ``max_rel`` and ``max_ulp`` are over finite elements; None where nothing of the kind was compared (text
    has no errors, integers no ULPs). ``mismatches`` are beyond ``tolerance``, or different at all where there is none;
    ``not_finite`` of them are NaN or infinite on one side only. ``structure`` says, once each, where dtypes or shapes
    differ or an output is missing.
    """

    output: str
    tolerance: Tolerance | None = None
    elements: int = 0
    mismatches: int = 0
    not_finite: int = 0
    equal: int = 0
    max_abs: float | None = None
    max_rel: float | None = None
    max_ulp: int | None = None
    first: list[Mismatch] = field(default_factory=list)
    structure: list[str] = field(default_factory=list)
    errors: list[float] = field(default_factory=list, repr=False)  # absolute, of some elements: for pictures

    @property
    def failed(self) -> bool:
        """Whether it is against what was declared: structure always is, distance where there is a tolerance."""
        return bool(self.structure) or (self.tolerance is not None and self.mismatches > 0)

    def missing(self, whose: str) -> None:
        self._note(f"missing in {whose}")

    def add(self, sample: str, reference: Any, value: Any) -> None:
        """Compare one more pair."""
        left, right = _as_array(reference), _as_array(value)
        if left is None or right is None:
            self._add_plain(sample, reference, value)
            return
        if _kind(left) != _kind(right) or (left.dtype != right.dtype and left.dtype.kind not in "UTOS"):
            self._note(f"dtype {left.dtype} and {right.dtype}")
        if left.shape != right.shape:
            self._note(f"shape {left.shape} and {right.shape}")
            return
        if _kind(left) == "number" == _kind(right):
            self._add_numbers(sample, left, right)
        else:
            self._count(sample, left, right, np.asarray(left != right) if _kind(left) == _kind(right) else None)

    def _add_plain(self, sample: str, reference: Any, value: Any) -> None:
        self.elements += 1
        if type(reference) is type(value) and reference == value:
            self.equal += 1
        else:
            self._mismatch(sample, (), reference, value)

    def _add_numbers(self, sample: str, left: Any, right: Any) -> None:
        with np.errstate(all="ignore"):
            wide_left, wide_right = _widened(left), _widened(right)
            same = (wide_left == wide_right) | ((wide_left != wide_left) & (wide_right != wide_right))  # noqa: PLR0124
            finite = np.isfinite(wide_left) & np.isfinite(wide_right)
            distance = np.where(same, 0.0, _distance(left, right, wide_left, wide_right))
            size = np.abs(wide_left).astype(np.float64)
            relative = np.where(finite & (size > 0), distance / size, 0.0)
            steps = _ulps(left, right)
        odd = ~finite & ~same
        self.max_abs = _largest(self.max_abs, distance[finite])
        self.max_rel = _largest(self.max_rel, relative[finite])
        if steps is not None and finite.any():
            self.max_ulp = max(self.max_ulp or 0, int(steps[finite].max()))
        wrong = ~same
        if self.tolerance is not None:
            with np.errstate(all="ignore"):
                near = distance <= self.tolerance.atol + self.tolerance.rtol * size
            if steps is not None and self.tolerance.ulp:
                near |= steps <= self.tolerance.ulp
            wrong &= ~near | odd
        self.not_finite += int(odd.sum())
        self._count(sample, left, right, wrong, same)
        kept = distance[finite].ravel()
        self.errors += kept[:: max(1, kept.size // _KEPT_A_SAMPLE)].tolist()
        if len(self.errors) > _KEPT:
            del self.errors[::2]

    def _count(self, sample: str, left: Any, right: Any, wrong: Any, same: Any = None) -> None:
        """``wrong`` has an element each; None: all of them."""
        if wrong is None:
            wrong = np.ones(left.shape, bool)
        self.elements += left.size
        self.equal += int((~wrong if same is None else same).sum())
        for index in np.argwhere(wrong)[: SHOWN - len(self.first)].tolist():
            self.first.append(Mismatch(sample, tuple(index), _item(left, index), _item(right, index)))
        self.mismatches += int(wrong.sum())

    def _mismatch(self, sample: str, index: tuple[int, ...], reference: Any, value: Any) -> None:
        self.mismatches += 1
        if len(self.first) < SHOWN:
            self.first.append(Mismatch(sample, index, reference, value))

    def _note(self, what: str) -> None:
        if what not in self.structure and len(self.structure) < _NOTED:
            self.structure.append(what)


def outputs_in_order(answers: list[Any]) -> Iterator[str]:
    """The names of all outputs, in the order in which they are met."""
    yield from dict.fromkeys(name for answer in answers for name in answer)


def _as_array(value: Any) -> Any:
    """An array for numbers, text and arrays; None for anything else."""
    array = as_array(value)
    if array is None and isinstance(value, bool | int | float | complex | str | bytes):
        array = np.asarray(value)
    return None if array is None or _kind(array) == "other" else array


def _kind(array: Any) -> str:
    kind = array.dtype.kind
    if kind in "UTO":
        return "text" if kind != "O" or all(isinstance(item, str) for item in array.ravel().tolist()) else "other"
    if kind == "S":
        return "bytes"
    return "number" if kind in "biufcV" and array.dtype.fields is None else "other"


def _widened(array: Any) -> Any:
    if array.dtype.kind == "c":
        return array.astype(np.complex128)
    if array.dtype.kind in "biu":
        return array.astype(np.int64) if array.dtype != np.uint64 else array
    return array.astype(np.float64)


def _distance(left: Any, right: Any, wide_left: Any, wide_right: Any) -> Any:
    if left.dtype.kind in "biu" and right.dtype.kind in "biu":
        if np.uint64 in (left.dtype, right.dtype):
            return np.abs(wide_left.astype(np.float64) - wide_right.astype(np.float64))
        # whole numbers of 64 bits: their distance may need all of them, without a sign
        low, high = np.minimum(wide_left, wide_right), np.maximum(wide_left, wide_right)
        return (high.view(np.uint64) - low.view(np.uint64)).astype(np.float64)
    return np.abs(wide_left - wide_right).astype(np.float64)


def _ulps(left: Any, right: Any) -> Any:
    """Units in the last place between two arrays of one floating dtype; None for others. Complex: the larger part."""
    if left.dtype.newbyteorder("=") != right.dtype.newbyteorder("=") or left.dtype.kind not in "fcV":
        return None
    if left.dtype.kind == "c":
        parts = [_ulps(getattr(left, part), getattr(right, part)) for part in ("real", "imag")]
        return np.maximum(*parts)
    first, second = _ordered(left), _ordered(right)
    return np.where(first > second, first - second, second - first)


def _ordered(array: Any) -> Any:
    """Floats as whole numbers in their order, one for each representable value, both zeros the same."""
    kind = _EXTENDED[array.dtype.itemsize]
    bits = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))).reshape(array.shape).view(kind)
    half = kind(1 << (array.dtype.itemsize * 8 - 1))
    size = bits & (half - kind(1))
    return np.where(bits & half, half - size, half + size).astype(np.uint64)


def _largest(before: float | None, values: Any) -> float | None:
    return before if not values.size else max(before or 0.0, float(values.max()))


def _item(array: Any, index: list[int]) -> Any:
    item = array[tuple(index)]
    return item.item() if hasattr(item, "item") else item
