"""How a model in one framework is loaded and called: one file a framework, against one small contract.

A backend is a module here with a function ``load(order)`` that returns a ``Loaded``. It is imported after the
environment is active and numpy is there; only it imports its framework, whose version it has checked by
``order.check_version`` before it reads anything of the model. What it raises while loading goes to the
caller: ``SpecError`` where the caller asked for what cannot be, anything else as the model's own exception.
"""

from __future__ import annotations

import contextlib
import importlib
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, NamedTuple, Sequence

from isopod.ipc.errors import ProtocolError, SpecError
from isopod.ipc.spec import TensorSpec
from isopod.opeworker import declared, devices, versions

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
    those between operations. ``device`` is ``"cpu"``, ``"cuda:0"``, or empty: where the framework puts it by itself.
    ``imported`` is called once, when what the model needs has been imported: what follows is the time of the model
    itself.
    """

    target: Dict[str, Any]
    arguments: Dict[str, Any]
    threads: Sequence[int] = ()
    device: str = ""
    imported: Callable[[], None] = lambda: None

    @property
    def path(self) -> str:
        return str(self.target["path"])

    @property
    def ops(self) -> List[str]:
        return list(map(str, self.target.get("ops") or ()))

    def declared(self, side: str) -> List[TensorSpec]:
        """The ``"inputs"`` or ``"outputs"`` that a package declares; empty where only the model can say it."""
        return list(map(TensorSpec.of, self.target.get(side) or ()))

    def take_options(self, *known: str) -> Dict[str, Any]:
        """The options, all of which the backend must know. Raises ``SpecError`` for one that it does not."""
        options = dict(self.target.get("options") or {})
        for name in options:
            if name not in known:
                backend, there = self.target["backend"], ", ".join(known) or "none"
                raise SpecError(f"the {backend} backend has no option {name!r}; it has {there}")
        return options

    def check_version(self, package: str, version: str) -> None:
        """Hold the framework that was imported against the versions that the package names. Raises ``SpecError``."""
        versions.check(package, version, self.target.get("versions") or {})

    def refuse_arguments(self) -> None:
        if self.arguments:
            names = ", ".join(self.arguments)
            raise SpecError(f"load arguments are for callables; a model file takes none ({names})")


_BACKENDS = frozenset(
    ("python", "neuropod_python", "torchscript", "pytorch", "tensorflow", "keras", "onnx", "sklearn", "tensorrt")
)


def load(order: Order) -> Loaded:
    """Load a model with the backend that its target names. Raises what the backend raises.

    Raises ``SpecError`` where the device is not there, or where what is declared contradicts the model.
    """
    name = order.target.get("backend")
    if name not in _BACKENDS:
        raise ProtocolError(f"there is no backend {name!r:.40}")
    devices.check(order.device)
    loaded: Loaded = importlib.import_module(f"isopod.opeworker.backends.{name}").load(order)
    for side in ("inputs", "outputs"):
        said = order.declared(side)
        if said:
            unknown = loaded.open and side == "inputs"
            setattr(loaded, side, declared.agreed(side[:-1], said, getattr(loaded, side), unknown))
    if order.target.get("inputs") and loaded.open:
        loaded.open = False
    return loaded


@contextlib.contextmanager
def requires(package: str, module: str = "") -> Iterator[None]:
    """Around the import of a framework: where it is not installed, ``SpecError`` names the package to add."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != (module or package):
            raise  # a part of it, or something that it needs: its own words are the better ones
        raise SpecError(
            f"its environment has no {package}, which loads this format; add it: env=isopod.Env([{package!r}, …]), or "
            "install it where the model runs"
        ) from None
