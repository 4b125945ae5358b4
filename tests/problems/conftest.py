"""Where the models are, and the problem that they implement."""

from __future__ import annotations

from pathlib import Path

import pytest

from isopod import Input, Output, Problem

IMPLEMENTATIONS = Path(__file__).resolve().parent.parent / "models" / "implementations.py"
SCALING = Problem(
    "scaling",
    "1",
    inputs=(Input("x", "float32", ("n", 4)), Input("scale", "float32", (), default=2.0)),
    outputs=(Output("y", "float32", ("n", 4), atol=1e-3), Output("best", "int64", ("n",))),
    shared=("n",),
)


@pytest.fixture
def scaling(tmp_path: Path) -> Path:
    """The problem's file."""
    SCALING.to_toml(tmp_path / "scaling.toml")
    return tmp_path / "scaling.toml"


def target(name: str) -> str:
    return f"{IMPLEMENTATIONS}:{name}"
