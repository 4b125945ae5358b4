"""What is sent, and what must come back. All of it follows from the seed and the call's number.

Sizes are spread evenly over their logarithm, up to 64 MB, in three classes, so that a million calls have many small
ones, some of each larger size, and a bounded number of bytes. A small answer is compared whole; a large one by its sum,
both ends and samples.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import isopod

Array = Any  # np.ndarray[Any, Any]

LARGEST = 64 << 20  # bytes
# (how often, from, to): bytes
_CLASSES = ((0.973, 1, 16 << 10), (0.025, 16 << 10, 1 << 20), (0.002, 1 << 20, LARGEST))
_EMPTY = 0.01
_WHOLE = 64 << 10  # bytes: answers up to here are compared whole
_ENDS, _SAMPLES = 64, 32
_OFFSETS = 1 << 20  # how many different beginnings the pool has
_EMOJI = "🦐é日"

_DTYPES: list[Any] = [
    np.dtype(name) for name in ["u1", "i1", "?", "u2", "i2", "f2", "i4", "u4", "f4", "i8", "f8", "c8", "c16"]
]
try:
    import ml_dtypes

    _DTYPES.append(np.dtype(ml_dtypes.bfloat16))
except ImportError:  # the soak runs without it
    pass


def size(random_: random.Random, largest: int) -> int:
    """How many bytes the next array has."""
    if random_.random() < _EMPTY:
        return 0
    at = random_.random()
    for share, low, high in _CLASSES:
        if at < share:
            top = max(low, min(high, largest))
            return int(math.exp(random_.uniform(math.log(low), math.log(top))))
        at -= share
    return 1


@dataclass
class Request:
    """One call: its inputs, and what its answer must be. ``flat`` are the bytes of ``x`` as they lie in C order."""

    number: int
    inputs: dict[str, Any]
    flat: Array = None
    dtype: Any = None
    shape: tuple[int, ...] = ()
    timeout: float | None = None
    allowed: tuple[type[BaseException], ...] = ()
    must_fail: bool = False
    layout: str = ""
    values: dict[str, Any] = field(default_factory=dict)  # outputs that are not ``y``, by name

    @property
    def way(self) -> str:
        return str(self.inputs.get("way", ""))

    @property
    def nbytes(self) -> int:
        return 0 if self.flat is None else int(self.flat.nbytes)

    def problem(self, outputs: Any) -> str:
        """What is wrong with an answer; empty where nothing is."""
        if self.must_fail:
            return f"it was to fail ({self.way})"
        if outputs.get("number") != self.number:
            return f"it has number {outputs.get('number')}: that of another call"
        if outputs.get("spoiled"):
            return f"{outputs['spoiled']} inputs that the model kept have changed"
        for name, value in self.values.items():
            if not _same(outputs.get(name), value):
                return f"{name} is {outputs.get(name)!r:.80}, not {value!r:.80}"
        if self.flat is None:
            return ""
        y = outputs.get("y")
        if y is None:
            return "it has no y"
        if y.dtype != self.dtype or y.shape != self.shape:
            return f"y has dtype {y.dtype} and shape {y.shape}, not {self.dtype} and {self.shape}"
        return self._difference(np.ascontiguousarray(y).reshape(-1).view(np.uint8))

    def _difference(self, got: Array) -> str:
        turned = 0 if self.way == "view" else 1 if self.dtype.kind == "b" else 255
        if got.nbytes <= _WHOLE:
            wrong = np.flatnonzero(got != self.flat ^ np.uint8(turned))
            return f"{wrong.size} of {got.nbytes} bytes differ, the first at {wrong[0]}" if wrong.size else ""
        places = np.linspace(0, got.nbytes - 1, _SAMPLES).astype(np.int64)
        for what, where in (("first", slice(_ENDS)), ("last", slice(-_ENDS, None)), ("sampled", places)):
            if (got[where] != self.flat[where] ^ np.uint8(turned)).any():
                return f"the {what} bytes of {got.nbytes} differ"
        return "" if _sum(got) == self._expected_sum(turned) else f"the sum over {got.nbytes} bytes differs"

    def _expected_sum(self, turned: int) -> int:
        count, here = self.nbytes // 8, _sum(self.flat)
        if turned == 0:
            return here
        if turned == 1:  # booleans: each byte b is 1 - b, and no byte of the difference borrows
            here -= count * int.from_bytes(b"\1" * 8, "little")
            return -here % (1 << 64)
        return (-count - here) % (1 << 64)


def _sum(data: Array) -> int:
    return int(data[: data.nbytes // 8 * 8].view(np.uint64).sum(dtype=np.uint64))


def _same(got: Any, expected: Any) -> bool:
    if isinstance(expected, np.ndarray):
        return isinstance(got, np.ndarray) and got.shape == expected.shape and bool((got == expected).all())
    return type(got) is type(expected) and bool(got == expected)


@functools.lru_cache(maxsize=4)
def _pool(nbytes: int) -> Array:
    """Random bytes that all callers read from."""
    return np.frombuffer(np.random.default_rng(0).bytes(nbytes), np.uint8)


class Maker:
    """Makes requests from a pool of random bytes. One caller each: it has a random number generator of its own."""

    def __init__(self, largest: int, seed: object) -> None:
        self.random = random.Random(f"{seed}")
        self.largest = largest
        self._pool = _pool(largest + _OFFSETS)

    def tensor(self, number: int, nbytes: int, way: str = "", empty: Callable[..., Array] | None = None) -> Request:
        """A call with a tensor of about ``nbytes`` bytes; ``empty`` is the model's own, if it may be used."""
        choose = self.random
        dtype = choose.choice(_DTYPES)
        shape = self._shape(nbytes // dtype.itemsize)
        flat = self._flat(number, math.prod(shape) * dtype.itemsize, dtype)
        base = flat.view(dtype).reshape(shape)
        layout = self._layout(flat.nbytes, base.ndim, empty is not None)
        x = base if layout == "plain" else _laid_out(layout, base, flat, empty)
        inputs = {"number": number, "x": x}
        if way:
            inputs["way"] = way
        # What the model may change in place must not be what the answer is compared with.
        return Request(number, inputs, flat, dtype, shape, layout=layout)

    def text(self, number: int) -> Request:
        lines = [f"{number}:{line}:{_EMOJI[: line % 4]}" for line in range(self.random.randrange(1, 40))]
        x: Array = np.array(lines, dtype=self.random.choice([np.str_, object]))
        value = {"n": number, "list": [None, 1.5, "é", [b"\0", -number]], "true": True}
        inputs = {"number": number, "x": x, "way": "text", "value": value}
        return Request(number, inputs, values={"y": x[::-1], "value": value})

    def plain(self, number: int) -> Request:
        value = [{"n": number, "text": "x" * self.random.randrange(2000)}, number, number / 7]
        return Request(number, {"number": number, "way": "plain", "value": value}, values={"value": value})

    def again(self, number: int, earlier: Request, y: Array) -> Request:
        """A call whose input is another one's output, which lies in shared memory."""
        flat = np.ascontiguousarray(y).reshape(-1).view(np.uint8).copy()
        return Request(number, {"number": number, "x": y}, flat, earlier.dtype, earlier.shape, layout="an output")

    def _flat(self, number: int, nbytes: int, dtype: Any) -> Array:
        at = hash((number, nbytes)) % _OFFSETS
        flat = self._pool[at : at + nbytes].copy()
        stamp = np.frombuffer(number.to_bytes(8, "little"), np.uint8)
        for start in (0, nbytes // 2 // 8 * 8, nbytes - 8):
            if 0 <= start <= nbytes - 8:
                flat[start : start + 8] = stamp
        if dtype.kind == "b":
            flat &= 1
        return flat

    def _shape(self, items: int) -> tuple[int, ...]:
        """One to four dimensions, or none, with about as many items."""
        rank = self.random.choice((1, 1, 1, 2, 3, 4))
        if items == 1 and rank == 1 and self.random.random() < 0.5:
            return ()
        dims: list[int] = []
        for _ in range(rank - 1):
            dims.append(self.random.randint(1, max(1, min(7, items))))
            items //= dims[-1]
        self.random.shuffle(dims)
        return (*dims, items)

    def _layout(self, nbytes: int, rank: int, may_be_empty: bool) -> str:
        found = ["plain"] * 4
        if may_be_empty:
            found += ["empty", "empty", "part of an empty"]
        if nbytes <= 1 << 20:
            found += ["fortran", "unaligned", "read-only", "big-endian"]
            found += ["strided", "backwards"] if rank else []
        return self.random.choice(found)


def _laid_out(layout: str, base: Array, flat: Array, empty: Callable[..., Array] | None) -> Array:
    """The same values, lying elsewhere or differently."""
    if layout == "fortran":
        return np.array(base, order="F")
    if layout == "strided":
        return np.repeat(base, 2, axis=-1)[..., ::2]
    if layout == "backwards":
        return base[::-1].copy()[::-1]
    if layout == "big-endian":
        return base if base.dtype.kind not in "iufc" else base.byteswap().view(base.dtype.newbyteorder(">"))
    if layout == "unaligned":
        wide = np.empty(flat.nbytes + 1, np.uint8)
        wide[1:] = flat
        return wide[1:].view(base.dtype).reshape(base.shape)
    if layout == "read-only":
        base = base.view()
        base.flags.writeable = False
        return base
    assert empty is not None
    x: Array = empty("x", base.shape, base.dtype) if layout == "empty" else _part(empty, base)
    x[...] = base
    return x


def _part(empty: Callable[..., Array], base: Array) -> Array:
    return empty("x", base.size + 7, base.dtype)[3 : 3 + base.size].reshape(base.shape)


ORDINARY: tuple[type[BaseException], ...] = (isopod.ArenaFull,)
UNDER_FIRE: tuple[type[BaseException], ...] = (*ORDINARY, isopod.WorkerCrashed, isopod.WorkerUnavailable)
