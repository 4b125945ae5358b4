"""The entry points of Neuropod's python packages: code and data folders, relative imports, equal names side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import isopod
from isopod.runtime.target import Target

MAIN = """
import os
from .helper import offset
from package import sibling
import sibling_at_the_root

class Model:
    def __init__(self, data):
        with open(os.path.join(data, "number.txt")) as file:
            self.number = float(file.read())
        self.calls = 0

    def __call__(self, x, y=None):
        self.calls += 1
        return {"out": x + self.number + offset(), "calls": self.calls, "name": sibling.NAME + sibling_at_the_root.NAME}

def make(data):
    return Model(data)

def broken(data):
    return 3
"""

Load = Callable[..., isopod.Model]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:

    def write(name: str, number: int) -> dict[str, str]:
        code, data = tmp_path / name / "code", tmp_path / name / "data"
        (code / "package").mkdir(parents=True)
        data.mkdir()
        (data / "number.txt").write_text(str(number))
        (code / "package" / "__init__.py").write_text("")
        (code / "package" / "main.py").write_text(MAIN)
        (code / "package" / "helper.py").write_text(f"def offset(): return {number * 10}\n")
        (code / "package" / "sibling.py").write_text(f"NAME = {name!r}\n")
        (code / "sibling_at_the_root.py").write_text("NAME = '!'\n")
        return {"code": str(code), "data": str(data), "entrypoint_package": "package.main", "entrypoint": "make"}

    def loaded(name: str, number: int, inputs: Any = None, **changed: Any) -> isopod.Model:
        options = {**write(name, number), **changed}
        found = Target(name, backend="neuropod_python", path=tmp_path / name, options=options, inputs=inputs)
        with monkeypatch.context() as patch:
            patch.setattr(Target, "parse", lambda *_: found)
            return isopod.load(name)

    return loaded


def test_two_packages_with_one_module_name_coexist(load: Load) -> None:
    with load("one", 1) as one, load("two", 2) as two:
        for model, number in ((one, 1), (two, 2)):
            answer = model(x=np.zeros(2))
            assert answer["out"].tolist() == [number * 11] * 2
            assert answer["name"] == ("one!" if number == 1 else "two!")
        assert one(x=np.zeros(1))["calls"] == 2, "it keeps its state"


def test_declared_inputs_are_all_that_there_are(load: Load) -> None:
    given = (isopod.TensorSpec("x", "float64", ("n",)), isopod.TensorSpec("y", required=False))
    with load("one", 1, inputs=given) as model:
        assert model.inputs == given
        with pytest.raises(isopod.SpecError, match="no input 'z'; it takes x, y"):
            model(x=np.zeros(1), z=1)
        assert model(x=np.zeros(1))["calls"] == 1


@pytest.mark.parametrize(
    ("changed", "fact"),
    [
        ({"entrypoint": "nothing"}, r"package\.main\.nothing is not there; the module has Model, broken, make, offset"),
        ({"entrypoint": "broken"}, r"package\.main\.broken returned a int, no model"),
        ({"entrypoint": None}, "needs the options entrypoint, as text"),
        ({"more": 1}, "no option 'more'; it has entrypoint_package"),
    ],
)
def test_what_is_wrong_with_an_entry_point(load: Load, changed: dict[str, Any], fact: str) -> None:
    with pytest.raises(isopod.SpecError, match=fact):
        load("one", 1, **changed)
