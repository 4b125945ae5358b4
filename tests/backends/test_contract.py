"""What every backend does alike: one small model a kind of file, in a real environment, asked the same questions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from backends.kinds import KINDS, Kind
from waits import until

import isopod

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.full, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.id)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture(scope="module")
def model(_supervisor_at_rest: None, kind: Kind, folder: Path) -> Iterator[isopod.Model]:
    with kind.load(folder, threads=1) as model:
        ask(model, kind, np.ones((2, 3), np.float32))  # frameworks grow their pools with the first call
        yield model


@pytest.fixture(scope="module")
def stage(_supervisor_at_rest: None) -> Iterator[isopod.Model]:
    """Another model: adds one to what it is given."""
    with isopod.load(Path(__file__).resolve().parent.parent / "models" / "chains.py:Stage", timeout=60) as stage:
        stage(x=stage.empty("x", (40, 3), np.float32))
        yield stage


def ask(model: isopod.Model, kind: Kind, x: object) -> np.ndarray:
    answer = model({kind.given: x})
    assert kind.returned in answer
    found: np.ndarray = answer[kind.returned]
    return found


def test_it_answers(model: isopod.Model, kind: Kind) -> None:
    for rows in (1, 5, 2):
        x = np.random.default_rng(rows).normal(size=(rows, 3)).astype(np.float32)
        y = ask(model, kind, x)
        assert y.dtype == kind.out_dtype
        np.testing.assert_allclose(y, x * 2 + 1, rtol=1e-5, atol=1e-6)


def test_it_says_what_it_takes_and_gives(model: isopod.Model, kind: Kind) -> None:
    (given,) = model.inputs
    assert (given.name, given.dtype, given.required) == (kind.given, kind.dtype, True)
    assert [spec.name for spec in model.outputs] == [kind.returned]
    assert len(given.shape or ()) == len(kind.shape or ())
    if kind.shape is not None and "s" not in kind.shape:  # torch.export numbers its symbols
        assert given.shape == kind.shape
        assert model.outputs[0].shape == kind.out_shape
    elif kind.shape is not None:
        assert isinstance(given.shape and given.shape[0], str)
        assert model.outputs[0].shape == given.shape


def test_its_error_leaves_it_healthy(model: isopod.Model, kind: Kind) -> None:
    pid = model.health.pid
    with pytest.raises((isopod.ModelError, isopod.SpecError)):
        ask(model, kind, np.array([["no", "number", "here"]]))
    with pytest.raises(isopod.SpecError, match="no input 'nothing'"):
        model(nothing=np.ones(3))
    assert ask(model, kind, np.ones((1, 3), np.float32)).tolist() == pytest.approx(np.full((1, 3), 3.0))
    assert model.health.pid == pid


def test_an_input_in_shared_memory_is_not_copied_and_an_output_at_most_once(model: isopod.Model, kind: Kind) -> None:
    x = model.empty(kind.given, (40, 3), np.float32)
    x[:] = 4
    before = model.stats()
    y = ask(model, kind, x)
    after = model.stats()
    assert after.bytes_copied_in == before.bytes_copied_in
    assert after.bytes_copied_out - before.bytes_copied_out == (y.nbytes if kind.copies_out else 0)
    np.testing.assert_allclose(y, 9, rtol=1e-5)
    assert (x == 4).all()


def test_an_output_of_another_model_is_not_copied_but_for_a_framework_that_might_write_to_it(
    model: isopod.Model, stage: isopod.Model, kind: Kind
) -> None:
    x = stage.empty("x", (40, 3), np.float32)
    x[:] = 3
    y = stage(x=x)["y"]
    before = model.stats().bytes_copied_in
    np.testing.assert_allclose(ask(model, kind, y), 9, rtol=1e-5)
    assert model.stats().bytes_copied_in - before == (y.nbytes if kind.copies_read_only else 0)
    assert (y == 4).all()


def test_a_view_that_is_not_contiguous_costs_one_copy(model: isopod.Model, kind: Kind) -> None:
    x = np.arange(60, dtype=np.float32).reshape(10, 6)[:, ::2]
    before = model.stats().bytes_copied_in
    np.testing.assert_allclose(ask(model, kind, x), x * 2 + 1, rtol=1e-5)
    assert model.stats().bytes_copied_in - before == x.size * 4


def test_a_view_into_an_input_need_not_be_aligned(model: isopod.Model, kind: Kind) -> None:
    whole = model.empty(kind.given, (9, 3), np.float32)
    whole[:] = np.arange(27).reshape(9, 3)
    np.testing.assert_allclose(ask(model, kind, whole[1:]), whole[1:] * 2 + 1, rtol=1e-5)


def test_it_lets_go_of_its_inputs_and_outputs(model: isopod.Model, kind: Kind) -> None:
    x = None
    for _ in range(50):
        x = model.empty(kind.given, (1000, 3), np.float32)
        x[:] = 1
        ask(model, kind, x)
    del x

    def all_is_free() -> bool:
        ask(model, kind, np.ones((1, 3), np.float32))
        return model.stats().shared_bytes_used == 0

    until(all_is_free)
