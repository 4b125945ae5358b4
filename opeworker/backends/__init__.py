"""How a model in one framework is loaded and called: one file a framework, against one small contract.

A backend is a module here with a function ``load(order)`` that returns a ``Loaded``. It is imported after the
environment is active and numpy is there; only it imports its framework. What it raises while loading goes to the
caller: ``SpecError`` where the caller asked for what cannot be, anything else as the model's own exception.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Callable, Dict, List, NamedTuple, Sequence

from isopod.ipc.errors import ProtocolError
from isopod.ipc.spec import TensorSpec

if TYPE_CHECKING:  # Python 3.7 has no Protocol
    from typing import Protocol

    class Loaded(Protocol):
        """A model that can be called. ``open``: whether inputs beside ``inputs`` are welcome."""

        inputs: List[TensorSpec]
        outputs: List[TensorSpec]
        open: bool

        def __call__(self, inputs: Dict[str, Any]) -> Any:
            """The outputs, in any form that ``name_outputs`` knows."""

        def close(self) -> None: ...


class Order(NamedTuple):
    """What a backend is asked for. ``target`` has the fields of the parent's ``Target``.

    ``arguments`` are those of ``isopod.load(args=)``; ``threads`` is empty, or has the threads within an operation and
    those between operations. ``imported`` is called once, when what the model needs has been imported: what follows is
    the time of the model itself.
    """

    target: Dict[str, Any]
    arguments: Dict[str, Any]
    threads: Sequence[int] = ()
    imported: Callable[[], None] = lambda: None


_BACKENDS = frozenset(("neuropod_python", "python"))


def load(order: Order) -> Loaded:
    """Load a model with the backend that its target names. Raises what the backend raises."""
    name = order.target.get("backend")
    if name not in _BACKENDS:
        raise ProtocolError(f"there is no backend {name!r:.40}")
    loaded: Loaded = importlib.import_module(f"isopod.opeworker.backends.{name}").load(order)
    return loaded
