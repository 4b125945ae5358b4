"""``load_neuropod``: a package in a worker of its own, asked with ``infer``."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from isopod.runtime import pods
from isopod.runtime.environment import Env
from isopod.runtime.loading import load
from isopod.runtime.model import Model
from isopod.runtime.pods import specs
from isopod.runtime.source import environment

from .errors import raised_as_theirs

_UNSAID = -2  # of a GPU, None says something


class Neuropod:
    """A package that is loaded. Its worker ends with ``close``, with the ``with`` block, or when it is let go."""

    def __init__(self, model: Model, says: pods.Config) -> None:
        self.model = model
        self._says = says

    @property
    def name(self) -> str:
        return self._says.name

    @property
    def platform(self) -> str:
        return self._says.platform

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """``[{"name": "x", "dtype": "float32", "shape": [None]}]``"""
        return specs.write(self._says.inputs)

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """As ``inputs``."""
        return specs.write(self._says.outputs)

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the model: numpy arrays by name in, numpy arrays by name out. Inputs may be left out.

        Raises ``RuntimeError`` for a name, dtype, rank or size that the package does not have, and for whatever goes
        wrong in the model or its worker; the next call works.
        """
        with raised_as_theirs():
            given = self._given(inputs)
            return self._answered(self.model(given))

    async def infer_async(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The same from a task; the loop is not blocked."""
        with raised_as_theirs():
            given = self._given(inputs)
            return self._answered(await self.model.acall(given))

    def close(self) -> None:
        """End its worker."""
        self.model.close()

    def __enter__(self) -> Neuropod:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _given(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        return {name: as_theirs(value) for name, value in inputs.items()}  # which the model checks, as any call

    def _answered(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        answered = {name: as_theirs(value) for name, value in outputs.items()}
        specs.check_values("output", self._says.outputs, answered, f"model {self.name!r}: ")
        return answered


def load_neuropod(
    neuropod_path: str | os.PathLike[str],
    visible_gpu: int | None = _UNSAID,
    load_custom_ops: bool = True,
    *,
    env: Env | str | os.PathLike[str] | None = None,
    _always_use_native: bool = True,
    **options: Any,
) -> Neuropod:
    """Load a Neuropod package, or any pod, out of process.

    ``visible_gpu`` is the index of the one GPU that it sees, None for the CPU; not given, it sees those that the
    application sees. ``env`` and ``options`` are those of ``isopod.load``. ``load_custom_ops`` is always true: ops of
    two models do not meet. Raises ``RuntimeError`` where there is no such package, or nothing that can run it. ::

        with neuropod.load_neuropod("addition.zip") as model:
            print(model.infer({"x": x, "y": y})["out"])
    """
    with raised_as_theirs():
        place = Path(neuropod_path).expanduser().absolute()
        pod = pods.open_pod(place)
        try:
            where = pod.env if env is None else environment(env)
            if visible_gpu != _UNSAID:
                devices = "cpu" if visible_gpu is None else [f"cuda:{visible_gpu}"]
                where = dataclasses.replace(where, devices=devices)
            return Neuropod(load(place, env=where, **options), pod.config)
        finally:
            pod.release()


def as_theirs(value: Any) -> Any:
    """As Neuropod has values: arrays, and text in them of numpy's fixed width."""
    array = np.asarray(value)
    if array.dtype.kind == "S":
        return np.char.decode(array, "utf-8")
    if array.dtype.kind in "OT" and all(isinstance(item, str) for item in array.ravel().tolist()):
        return array.astype(np.str_)
    return array
