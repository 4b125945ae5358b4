"""Between arrays and TensorFlow's values, for the backends of TensorFlow and of Keras.

In: TensorFlow computes on memory that begins at a multiple of 64 bytes, as every array of the inbox does. Such an array
of numbers becomes a tensor over the same memory (through DLPack, with numpy 1.22 or later); a view into the middle of
one, bool, complex, bfloat16, float8, text and arrays that may not be written are copied once more, by TensorFlow. Out:
a tensor on the processor is looked at where it lies, and the outbox copies it once.
"""

from __future__ import annotations

from typing import Any, List, Sequence

import numpy as np

from isopod.ipc import tensor as wire
from isopod.ipc.errors import SpecError
from isopod.ipc.spec import TensorSpec
from isopod.opeworker import context, devices
from isopod.opeworker.backends import Order, requires
from isopod.opeworker.failure import BadValue
from isopod.opeworker.ops import Ops

with requires("tensorflow"):
    import tensorflow as tf

VERSION = f"tensorflow {tf.__version__}"
EAGER = int(tf.__version__.partition(".")[0]) >= 2
_ALIGNMENT = 64  # EIGEN_MAX_ALIGN_BYTES, of the wheels
_SHARED = frozenset(
    ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
)
_NAMES = frozenset([*wire.NUMERIC.values(), *wire.EXTENDED.values()])


def prepare(order: Order) -> None:
    """Custom operations, threads and the device of an order. Raises ``SpecError``."""
    flags = " ".join(tf.sysconfig.get_compile_flags())
    Ops(VERSION, "_GLIBCXX_USE_CXX11_ABI=1" in flags).load(order.ops, tf.load_op_library)
    if order.threads and EAGER:
        try:
            tf.config.threading.set_intra_op_parallelism_threads(order.threads[0])
            tf.config.threading.set_inter_op_parallelism_threads(order.threads[1])
        except RuntimeError:
            pass  # loading its operations has used it already; the variables that were set before say the same
    if order.threads and not EAGER:  # for the session that Keras takes by itself; others are given the same
        settings = tf.compat.v1.ConfigProto()
        settings.intra_op_parallelism_threads, settings.inter_op_parallelism_threads = order.threads
        tf.compat.v1.keras.backend.set_session(tf.compat.v1.Session(config=settings))
    if order.device.startswith("cuda"):
        there = tf.config.experimental.list_physical_devices("GPU")
        if not there:
            built = "CUDA, which does not work here," if tf.test.is_built_with_cuda() else "the processor"
            raise devices.lacking(order.device, VERSION, built)
        for gpu in there:  # others use it, too: take what is needed, not all that there is
            tf.config.experimental.set_memory_growth(gpu, True)


def to_tensor(value: Any, dtype: Any = None) -> Any:
    """A tensor, over the same memory where that can be. ``dtype`` is for values that are no arrays."""
    if not isinstance(value, np.ndarray):
        return tf.constant(value, dtype=dtype)
    flags = value.flags
    if (
        value.dtype.name in _SHARED
        and flags.c_contiguous
        and value.size
        and not value.__array_interface__["data"][0] % _ALIGNMENT
        and hasattr(value, "__dlpack__")
    ):
        if flags.writeable:
            return tf.experimental.dlpack.from_dlpack(value.__dlpack__())
        context.note_copy(value.nbytes)  # DLPack cannot say that it may not be written
    return tf.constant(plain_text(value))


def plain_text(value: Any) -> Any:
    """numpy's new kind of text as the one that TensorFlow knows."""
    return value.astype(object) if value.dtype.kind == "T" else value


def to_array(name: str, value: Any) -> Any:
    """What can cross of an output. Raises ``BadValue`` for a sparse or ragged one."""
    if isinstance(value, (tf.SparseTensor, tf.RaggedTensor)):
        kind = type(value).__name__
        raise BadValue(SpecError(f"{name} is a {kind}, which cannot be sent; return its parts"), "output")
    return decoded(name, np.asarray(value))


def decoded(name: str, array: Any) -> Any:
    """Text instead of the bytes that TensorFlow has for it; bytes where they are no UTF-8."""
    if array.dtype.kind != "O":
        return array
    items = [item.encode() if isinstance(item, str) else item for item in array.ravel().tolist()]
    found = np.empty(len(items), dtype=object)
    try:
        found[:] = [item.decode() for item in items]
    except UnicodeDecodeError:
        if any(item.endswith(b"\0") for item in items):
            reason = f"{name} holds bytes that end in zeros, which arrays of bytes cannot keep; return them as uint8"
            raise BadValue(SpecError(reason), "output") from None
        found = np.array(items, dtype=np.bytes_)
    return found.reshape(array.shape)


def spec_of(name: str, dtype: Any, shape: Any, required: bool = True) -> TensorSpec:
    """From what TensorFlow says: None for a dim of any size, or for a shape of any rank."""
    kind = tf.as_dtype(dtype).name if dtype is not None else ""
    kind = "text" if kind == "string" else kind if kind in _NAMES else ""
    known = tf.TensorShape(shape)
    dims = None if known.rank is None else tuple(known.as_list())
    return TensorSpec(name, kind, dims, required)


def need_names(what: str, names: Sequence[str], wanted: str) -> None:
    """Raises ``SpecError`` where what is wanted is not there, saying what is."""
    if wanted not in names:
        raise SpecError(f"there is no {what} {wanted!r} in it; it has {', '.join(sorted(names)) or 'none'}")


def first_line(error: BaseException) -> str:
    lines: List[str] = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
