"""What a worker says of its model's interface is checked like everything else that it says."""

from __future__ import annotations

from typing import Any

import pytest

from isopod import ProtocolError
from isopod.runtime.control import checked_interface

GOOD: dict[str, Any] = {
    "inputs": [{"name": "x", "required": True}],
    "outputs": [{"name": "y"}],
    "open": False,
    "timings": {"load": 0.5},
}


def test_a_good_interface_passes() -> None:
    assert checked_interface(GOOD) is GOOD


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": ["x"]},
        {"inputs": [{"required": True}]},
        {"inputs": [{"name": 3, "required": True}]},
        {"inputs": [{"name": "x", "required": 1}]},
        {"inputs": [{"name": "x"}]},
        {"outputs": [{"name": None}]},
        {"outputs": [[]]},
        {"timings": {"load": "soon"}},
    ],
    ids=repr,
)
def test_a_bad_one_is_a_protocol_error(change: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match="wrong form"):
        checked_interface({**GOOD, **change})
