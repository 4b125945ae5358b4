"""What a caller can get wrong, as a table: each is a SpecError that names it, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import isopod
from isopod import Env, ModelError, SpecError, WorkerTimeout


@pytest.fixture(scope="module")
def narrow(_supervisor_at_rest: None, models: Path) -> Any:
    with isopod.load(models / "basic.py:with_default") as model:
        model(x=np.ones(3))
        yield model


@pytest.mark.parametrize(
    ("target", "options", "error", "fact"),
    [
        ("nowhere.py:Thing", {}, SpecError, r"no file .*nowhere\.py to load 'Thing' from"),
        ("{models}/basic.py", {}, SpecError, "does not say what to load"),
        ("{models}/basic.py:", {}, SpecError, "does not say what to load"),
        ("{models}/basic.py:not an attribute", {}, SpecError, "does not say what to load"),
        ("{models}/basic.py:Nothing", {}, SpecError, "no 'Nothing' in it; it has .*Swiss"),
        ("{models}/basic.py:Outer.Nothing", {}, SpecError, "no 'Outer.Nothing' in it; it has Inner"),
        ("{models}/basic.py:KEPT", {}, SpecError, "'KEPT' is a list, not a function or a class"),
        ("{models}/basic.py:Outer", {}, SpecError, "'Outer' has no __call__"),
        ("no.such.module:Thing", {}, ModelError, "ModuleNotFoundError.*No module named 'no'"),
        ("no-module:Thing", {}, SpecError, "neither a .py file nor a module"),
        ("{models}/basic.py:Scale", {"args": {"scale": 3}}, SpecError, "do not fit Scale: .*scale"),
        ("{models}/basic.py:Scale", {"args": {"factor": {1}}}, SpecError, "must be plain values: .*set"),
        ("{models}/basic.py:Scale", {"args": {"factor": "x" * 50_000}}, SpecError, "take 50.* bytes; pass a path"),
        ("{models}/basic.py:Scale", {"memory_limit": 1000}, SpecError, "1000 bytes is too small; at least 1 MiB"),
        ("{models}/basic.py:Scale", {"python": "a", "env": "b"}, SpecError, "give env or python, not both"),
        ("{models}/basic.py:Scale", {"python": "/no/such/python"}, SpecError, "/no/such/python"),
        ("{models}/basic.py:Scale", {"env": "/no/such/venv"}, SpecError, "/no/such/venv"),
        ("{models}/basic.py:double", {"args": {"factor": 2}}, SpecError, r"takes no load arguments \(factor\)"),
    ],
)
def test_what_cannot_be_loaded_is_said_by_name(
    models: Path, narrow: isopod.Model, target: str, options: dict[str, Any], error: type[Exception], fact: str
) -> None:
    with pytest.raises(error, match=f"(?s){fact}"):
        isopod.load(target.format(models=models), **options)
    assert narrow(x=1)["y"] == 3  # the others go on


@pytest.mark.parametrize(
    ("source", "error", "fact"),
    [
        ("import nonsense_package\n", ModelError, "Add the package that provides 'nonsense_package'"),
        ("def f(:\n", ModelError, "SyntaxError"),
        ("raise ValueError('no good')\n", ModelError, "raised ValueError while it was loaded from .*no good"),
        ("f = 5\n", SpecError, "'f' is a int, not a function"),
        ("import functools\nf = functools.partial(print)\n", None, ""),
        ("class f:\n    def __init__(self):\n        raise KeyError('weights')\n", ModelError, "KeyError.*weights"),
        ("def f(*arrays):\n    return {}\n", None, ""),
        ("exec('def f(x, /):\\n    return x')\n", SpecError, "takes 'x' by position only"),
    ],
)
def test_what_is_wrong_with_a_model_file(
    tmp_path: Path, narrow: isopod.Model, source: str, error: type[Exception] | None, fact: str
) -> None:
    (tmp_path / "model.py").write_text(source)
    if error is None:
        isopod.load(tmp_path / "model.py:f").close()
        return
    with pytest.raises(error, match=f"(?s)'f'.*{fact}"):
        isopod.load(tmp_path / "model.py:f")
    assert narrow(x=1)["y"] == 3  # the others go on


@pytest.mark.parametrize(
    ("call", "fact"),
    [
        (lambda model: model(z=1), "has no input 'z'; it takes x, factor"),
        (lambda model: model(x=1, z=1), "has no input 'z'; it takes x, factor"),
        (lambda model: model(factor=1), "needs the input 'x', which was not given"),
        (lambda model: model(), "needs the input 'x'"),
        (lambda model: model({"x": 1}, factor=2), "as a mapping or by keyword, not both"),
        (lambda model: model([1]), "not as a list"),
        (lambda model: model({1: 2}), "not 1"),
        (lambda model: model({"x": 1, None: 2}), "None"),
        (lambda model: model(x={1, 2}), "x is a builtins.set, which cannot be sent"),
        (lambda model: model(x={1: 2}), "a dict key of type int"),
        (lambda model: model(x=[object()]), "builtins.object"),
        (lambda model: model(x=2**70), "does not fit into 64 bits"),
        (lambda model: model(x=np.array([1, "a"], object)), "x is an object array that holds a value of type int"),
        (lambda model: model(x=np.array(["\ud800"])), "x holds text that is not valid Unicode"),
        (lambda model: model(x=np.zeros(2, "M8[s]")), r"x: dtype datetime64\[s\] cannot be sent"),
        (lambda model: model(x=np.zeros(2, [("a", "i4")])), "x: dtype .* cannot be sent"),
        (lambda model: model(x=np.zeros((1,) * 33)), "x has 33 dimensions; at most 32"),
        (lambda model: model(x="y" * 300_000), "at most 262144 can be sent; use arrays"),
        (lambda model: model.empty("z", 3), "has no input 'z'"),
        (lambda model: model.empty("x", -3), r"x cannot have the shape \(-3,\)"),
        (lambda model: model.empty("x", "three"), "x cannot have the shape 'three'"),
        (lambda model: model.empty("x", 3, "no such"), "no such"),
        (lambda model: model.empty("x", 3, object), "cannot have the dtype object"),
    ],
)
def test_wrong_inputs_are_said_by_name_and_the_worker_never_sees_them(
    narrow: isopod.Model, call: Callable[[isopod.Model], Any], fact: str
) -> None:
    calls = narrow.stats().calls
    with pytest.raises(SpecError, match=fact) as caught:
        call(narrow)
    assert isinstance(caught.value, ValueError)
    assert narrow.stats().calls == calls
    assert narrow(x=2)["y"] == 6
    assert narrow.stats().shared_bytes_used == 0


def test_an_environment_without_numpy_is_said_to_lack_it(tmp_path: Path, models: Path) -> None:
    import subprocess
    import sys

    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    with pytest.raises(SpecError, match="numpy"):
        isopod.load(models / "basic.py:Scale", env=tmp_path / "venv")
    with isopod.load(models / "basic.py:Scale", env=Env.current()) as model:
        assert model(x=1)["y"] == 1


@pytest.mark.parametrize("name", ["model", "json", "queue", "ipc", "isopod", "typing"])
def test_a_models_neighbours_may_be_called_anything(tmp_path: Path, name: str) -> None:
    """None of them stands in for a module of ours or of the library, and those that are nobody's are the model's."""
    for neighbour in (
        "json",
        "queue",
        "ipc",
        "runtime",
        "msgpack",
        "isopod",
        "socket",
        "threading",
        "typing",
        "struct",
    ):
        (tmp_path / f"{neighbour}.py").write_text(f"HERE = 'the neighbour {neighbour}'\n")
    (tmp_path / f"{name}.py").write_text(
        "import ipc, runtime, msgpack, json, queue\n"
        "from isopod import worker\n"
        "def f(x):\n"
        "    out = worker.empty(3)\n"
        "    out[:] = x\n"
        "    return {'out': out, 'text': json.dumps([1]), 'queue': queue.Queue().qsize(),\n"
        "            'neighbours': [ipc.HERE, runtime.HERE, msgpack.HERE]}\n"
        if name not in ("ipc", "runtime", "msgpack")
        else "HERE = 1\ndef f(x):\n    import json\n    return {'out': x, 'text': json.dumps([1])}\n"
    )
    with isopod.load(tmp_path / f"{name}.py:f") as model:
        answer = model(x=np.ones(3))
        assert answer["out"].tolist() == [1, 1, 1]
        assert answer["text"] == "[1]"
        if "neighbours" in answer:
            assert answer["neighbours"] == ["the neighbour ipc", "the neighbour runtime", "the neighbour msgpack"]


def test_a_deadline_that_is_over_already_is_a_timeout(models: Path) -> None:
    with isopod.load(models / "basic.py:with_default") as model:
        with pytest.raises(WorkerTimeout, match="deadline of 1e-09 s"):
            model(x=1, timeout=1e-9)
        assert model(x=2)["y"] == 6
