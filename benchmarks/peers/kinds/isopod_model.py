"""isopod itself. ``placed``: arrays are where they cross without a copy, on both sides; otherwise ordinary ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import isopod
from benchmarks import functions
from benchmarks.peers import contract
from benchmarks.peers.contract import Array

_FOLDER = Path(functions.__file__).resolve().parent


class Peer(contract.Peer):
    def __init__(self, placed: bool = False) -> None:
        self._placed = placed
        self._models: dict[str, isopod.Model] = {}  # each is one function, in a worker of its own

    def start(self) -> None:
        self._model("any_of_them")  # whose worker answers whatever ``call`` is made with, after a kill, too

    def _model(self, function: str) -> isopod.Model:
        if function not in self._models:
            file = "placed.py" if self._placed and function == "plus_one" else "functions.py"
            lobby = os.environ.get(functions.LOBBY)
            variables = {} if lobby is None else {functions.LOBBY: lobby}
            env = isopod.Env.current(variables=variables)
            self._models[function] = isopod.load(f"{_FOLDER / file}:{function}", env=env)
        return self._models[function]

    def call(self, function: str, array: Array) -> Array:
        return self._model("any_of_them")(x=array, function=function).value

    def prepare(self, function: str, array: Array) -> Callable[[], Array]:
        model = self._model(function)
        x: Any = array
        if self._placed:
            x = model.empty("x", array.shape, array.dtype)
            x[:] = array
        return lambda: model(x=x).value

    def stop(self) -> None:
        while self._models:
            self._models.popitem()[1].close()
