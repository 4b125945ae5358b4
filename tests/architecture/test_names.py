"""The public names: each is there, each is documented, and none is there by accident."""

from __future__ import annotations

import inspect
import types

import pytest

import isopod


@pytest.mark.parametrize("name", isopod.__all__)
def test_a_public_name_exists_and_is_documented(name: str) -> None:
    thing = getattr(isopod, name)
    if inspect.isclass(thing) or inspect.isroutine(thing) or inspect.ismodule(thing):
        text = vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__
        assert (text or "").strip(), f"isopod.{name} has no docstring of its own"


def test_each_name_is_stated_once() -> None:
    assert len(isopod.__all__) == len(set(isopod.__all__))


def test_nothing_is_public_by_accident() -> None:
    seen = {
        name
        for name, thing in vars(isopod).items()
        if not name.startswith("_") and not isinstance(thing, types.ModuleType) and name != "annotations"
    }
    assert seen <= set(isopod.__all__)
