"""The wire under ``strict``: what a worker cannot write to, what is copied, and arrays that go from model to model."""

from __future__ import annotations

import asyncio
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from waits import GUARD

import isopod
from isopod.ipc.segment import Segment

MODELS = Path(__file__).resolve().parent.parent / "models"


@pytest.fixture(scope="module")
def swiss(_supervisor_at_rest: None) -> Iterator[isopod.Model]:
    with isopod.load(MODELS / "basic.py:Swiss", sandbox="strict", timeout=GUARD) as model:
        model(do="echo", x=model.empty("x", 8 << 20, "uint8"))
        model(do="large", x=8 << 20)
        model.submit(do="pid").result()
        yield model


def test_a_protected_segment_is_written_by_its_maker_alone() -> None:
    made = Segment.create(4096, protected=True)
    try:
        other = Segment.attach(os.dup(made.fileno()))
        made.map[:4] = b"mine"
        assert (other.protected, other.map[:4]) == (True, b"mine")
        with pytest.raises(TypeError):
            other.map[:4] = b"hers"
        with pytest.raises(PermissionError):
            mmap.mmap(made.fileno(), 4096)
        with pytest.raises(PermissionError):
            os.pwrite(made.fileno(), b"hers", 0)
        assert made.sealed
        other.close()
    finally:
        made.close()


@pytest.mark.parametrize(
    "x",
    [np.bool_(True), np.array([True, False]), np.arange(3.0), np.float32(2), np.array(["a", "ü"]), np.array([b"x"])],
    ids=str,
)
def test_every_kind_of_output_is_copied(swiss: isopod.Model, x: Any) -> None:
    out = swiss(do="echo", x=x)
    (value,) = out.values()
    assert isinstance(value, np.ndarray)
    assert (value.dtype, value.shape) == (np.asarray(x).dtype, np.shape(x))
    np.testing.assert_array_equal(value, x)
    assert value.flags.owndata or value.base is None or value.base.flags.owndata


def test_a_view_of_an_input_comes_back_as_a_copy(swiss: isopod.Model) -> None:
    x = swiss.empty("x", 1000)
    x[...] = 1
    (out,) = swiss(do="echo", x=x).values()
    out += 1
    assert (x == 1).all()


def test_arrays_of_one_model_go_to_another(swiss: isopod.Model) -> None:
    """What a trusted worker wrote lies in memory that it may write to: a strict one gets a copy of it."""
    with isopod.load(MODELS / "basic.py:Swiss", timeout=GUARD) as trusted:
        first = trusted.empty("x", 50_000)
        first[...] = np.arange(50_000)
        (there,) = swiss(do="echo", x=first).values()
        (back,) = trusted(do="echo", x=there).values()
        (again,) = swiss(do="echo", x=back).values()
        own = swiss.empty("x", 50_000)
        own[...] = again
        (last,) = trusted(do="echo", x=own).values()
        np.testing.assert_array_equal(last, first)


def test_a_call_goes_on_with_the_next_worker(tmp_path: Path) -> None:
    (tmp_path / "mortal.py").write_text(
        "import os\n"
        "class Mortal:\n"
        "    def __init__(self):\n"
        "        self.calls = 0\n"
        "    def __call__(self, x, die):\n"
        "        self.calls += 1\n"
        "        if die and self.calls > 1:\n"
        "            os._exit(3)\n"
        "        return {'y': x * 2}\n"
    )
    with isopod.load(tmp_path / "mortal.py:Mortal", sandbox="strict", retries=1, standby=1, timeout=GUARD) as model:
        x = np.arange(10_000.0)
        np.testing.assert_array_equal(model(x=x, die=False)["y"], x * 2)
        np.testing.assert_array_equal(model(x=x, die=True)["y"], x * 2)


def test_all_ways_of_calling(swiss: isopod.Model) -> None:
    async def twice() -> list[Any]:
        return await asyncio.gather(*(swiss.acall(do="echo", x=np.full(3, n)) for n in range(20)))

    for n, out in enumerate(asyncio.run(twice())):
        np.testing.assert_array_equal(next(iter(out.values())), np.full(3, n))
    futures = [swiss.submit(do="echo", x=np.full(3, n)) for n in range(100)]
    for n, future in enumerate(futures):
        np.testing.assert_array_equal(next(iter(future.result(GUARD).values())), np.full(3, n))
    batches = ({"do": "echo", "x": np.full(3, n)} for n in range(50))
    for n, out in enumerate(swiss.map(batches)):
        np.testing.assert_array_equal(next(iter(out.values())), np.full(3, n))


def test_a_reload_keeps_the_sandbox(tmp_path: Path) -> None:
    model_file = tmp_path / "which.py"
    model_file.write_text("def which():\n    return 1\n")
    with isopod.load(f"{model_file}:which", sandbox="strict") as model:
        model_file.write_text("def which():\n    return 2\n")
        model.reload()
        assert model()["output"] == 2
        assert model.sandbox_report().profile == "strict"


def test_an_input_that_is_changed_in_place_is_an_error_of_the_model(tmp_path: Path) -> None:
    (tmp_path / "place.py").write_text("def place(x):\n    x += 1\n    return x\n")
    strict = isopod.load(tmp_path / "place.py:place", sandbox="strict")
    with strict as model, pytest.raises(isopod.ModelError, match="read-only"):
        model(x=np.ones(3))
