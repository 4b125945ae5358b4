"""``Env`` as a value: normalised, frozen, hashable, printable without secrets, and strict."""

from __future__ import annotations

import dataclasses
import doctest
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from isopod.ipc.errors import SpecError
from isopod.runtime.environment import Env, spec


def test_sequences_become_tuples_and_equal_values_are_one_key() -> None:
    env = Env(["NumPy <2", "Scikit_Learn == 1.2.2"], python="3.11", variables={"B": "2", "A": "1"})
    same = Env(("numpy<2", "scikit-learn==1.2.2"), python="3.11", variables={"A": "1", "B": "2"})
    assert env.requirements == ("numpy<2", "scikit-learn==1.2.2")
    assert env == same
    assert {env: 1}[same] == 1
    assert pickle.loads(pickle.dumps(env)) == env


def test_it_is_frozen_to_the_variables() -> None:
    env = Env(variables={"A": "1"})
    with pytest.raises(dataclasses.FrozenInstanceError):
        env.python = "3.9"  # type: ignore[misc]
    with pytest.raises(TypeError):
        env.variables["A"] = "2"  # type: ignore[index]


def test_later_changes_of_the_callers_mapping_do_not_reach_it() -> None:
    variables = {"A": "1"}
    env = Env(variables=variables)
    variables["A"] = "2"
    assert env.variables == {"A": "1"}


def test_it_prints_in_one_line_and_without_secrets() -> None:
    env = Env(
        ["clash @ https://me:secret@host/clash-1.0-py3-none-any.whl"],
        index_url="https://me:secret@host/simple",
        extra_index_urls=["https://token@other/simple"],
        variables={"API_TOKEN": "secret"},
        warm=["clash"],
    )
    for text in (repr(env), str(env)):
        assert "\n" not in text
        assert "secret" not in text
        assert "token@" not in text
        assert "API_TOKEN" in text
        assert "https://host/simple" in text
    assert repr(Env.existing("/some/venv")) == "Env.existing('/some/venv')"


def test_docstring_examples() -> None:
    assert doctest.testmod(spec).failed == 0


@pytest.mark.parametrize("bad", ["numpy=1", "not a name", "", "numpy>=one", "-r other.txt"])
def test_a_requirement_that_cannot_be_read_is_named(bad: str) -> None:
    with pytest.raises(SpecError, match="requirement") as caught:
        Env(["clash", bad])
    assert repr(bad) in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"requirements": "numpy"}, "numpy"),
        ({"requirements": [1]}, "1"),
        ({"python": "three"}, "three"),
        ({"python": ""}, "python"),
        ({"python": "./venv/bin/python"}, "absolute"),
        ({"from_source": [":all:"]}, ":all:"),
        ({"warm": ["import os"]}, "import os"),
        ({"variables": {"A=B": "1"}}, "A=B"),
        ({"variables": {"A": 1}}, "A"),
        ({"location": "/venv", "requirements": ["clash"]}, "requirements"),
        ({"location": "/venv", "no_index": True}, "no_index"),
    ],
)
def test_other_wrong_values_are_named(arguments: dict[str, object], named: str) -> None:
    with pytest.raises(SpecError) as caught:
        Env(**arguments)  # type: ignore[arg-type]
    assert named in str(caught.value)


def test_a_local_wheel_is_a_requirement_by_its_path(
    make_wheel: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel(tmp_path, "clash", "1.0", {"clash.py": ""})
    monkeypatch.chdir(tmp_path)
    expected = (f"clash @ {wheel.as_uri()}",)
    assert Env([str(wheel)]).requirements == expected
    assert Env([wheel.name]).requirements == expected
    assert Env([f"clash @ ./{wheel.name}"]).requirements == expected
    with pytest.raises(SpecError, match=r"gone-1\.0"):
        Env(["gone-1.0-py3-none-any.whl"])
    with pytest.raises(SpecError, match=r"clash\.whl"):
        Env(["clash.whl"])
