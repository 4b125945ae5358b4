"""What a worker says of its model's interface is checked like everything else that it says."""

from __future__ import annotations

from typing import Any

import pytest

from isopod import ProtocolError, TensorSpec
from isopod.runtime.control import checked_interface

TENSOR = TensorSpec("x").fields()
GOOD: dict[str, Any] = {
    "inputs": [TensorSpec("x", "float32", ("batch", 3, None)).fields(), TensorSpec("y", required=False).fields()],
    "outputs": [TensorSpec("y", shape=()).fields()],
    "open": False,
    "timings": {"load": 0.5},
}


def test_a_good_interface_passes() -> None:
    assert checked_interface(GOOD) is GOOD


def test_a_description_crosses_as_it_is() -> None:
    for spec in (
        TensorSpec("x", "float32", ("batch", 3, None)),
        TensorSpec("y", required=False),
        TensorSpec("z", "", ()),
    ):
        assert TensorSpec.of(spec.fields()) == spec


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": ["x"]},
        {"inputs": [{"required": True}]},
        {"inputs": [{**TENSOR, "name": 3}]},
        {"inputs": [{**TENSOR, "required": 1}]},
        {"inputs": [{**TENSOR, "dtype": None}]},
        {"inputs": [{**TENSOR, "shape": 3}]},
        {"inputs": [{**TENSOR, "shape": [1.5]}]},
        {"inputs": [{**TENSOR, "shape": [-1]}]},
        {"inputs": [{**TENSOR, "shape": [True]}]},
        {"inputs": [{**TENSOR, "shape": [None] * 65}]},
        {"inputs": [{**TENSOR, "more": 1}]},
        {"inputs": [{"name": "x"}]},
        {"outputs": [{**TENSOR, "name": None}]},
        {"outputs": [[]]},
        {"timings": {"load": "soon"}},
    ],
    ids=repr,
)
def test_a_bad_one_is_a_protocol_error(change: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match="wrong form"):
        checked_interface({**GOOD, **change})
