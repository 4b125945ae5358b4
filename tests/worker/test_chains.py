"""Chains: the output of one model goes to another without a copy, to be read only, and for as long as it is wanted."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pythons
from waits import GUARD

import isopod
from isopod import ArenaFull, Env, ModelError, Restart, WorkerCrashed

SIZE = 100_000
Place = Callable[[Any], dict[str, int]]
Load = Callable[..., isopod.Model]


@pytest.fixture(scope="module")
def place(models: Path) -> Place:
    spec = importlib.util.spec_from_file_location("models_basic", models / "basic.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Place = module.place
    return found


@pytest.fixture
def load(models: Path) -> Iterator[Load]:
    """Loads a stage by its name."""
    with ExitStack() as stack:

        def loaded(name: str, **options: Any) -> isopod.Model:
            options = {"timeout": GUARD, "restart": Restart(max_restarts=None, backoff=0.01), **options}
            return stack.enter_context(isopod.load(models / "chains.py:Stage", name=name, **options))

        yield loaded


def copies(model: isopod.Model) -> tuple[int, int]:
    """Bytes that were copied in and out."""
    stats = model.stats()
    return stats.bytes_copied_in, stats.bytes_copied_out


def started(model: isopod.Model, number: int = 0) -> Any:
    """An input in shared memory."""
    x = model.empty("x", SIZE, np.float64)
    x[...] = number
    return x


def together(model: isopod.Model, xs: list[Any], go: Path) -> list[Any]:
    """Several calls at once, so that each worker has some."""
    futures = [model.submit(x=x, until=str(go)) for x in xs]
    go.touch()
    outs = [future.result(GUARD) for future in futures]
    go.unlink()
    return outs


# ---------------------------------------------------------------------- nothing is copied


STAFFS: dict[str, dict[str, Any]] = {
    "one worker": {},
    "two workers": {"workers": 2},
    "a standby": {"standby": 1},
    "a template": {"start": "fork-template", "env": Env.current()},
    "no sandbox": {"sandbox": "none"},
}


@pytest.mark.parametrize("staff", STAFFS.values(), ids=STAFFS)
def test_a_chain_of_three_copies_nothing(load: Load, place: Place, tmp_path: Path, staff: dict[str, Any]) -> None:
    first, second, third = (load(name, **staff) for name in ("first", "second", "third"))
    x, pids = started(first), set()
    for _ in range(3):
        ones = together(first, [x] * 4, tmp_path / "go")
        twos = together(second, [one["y"] for one in ones], tmp_path / "go")
        threes = together(third, [two["y"] for two in twos], tmp_path / "go")
        for one, two, three in zip(ones, twos, threes, strict=True):
            assert {key: two[key] for key in ("inode", "offset")} == place(one["y"])
            assert {key: three[key] for key in ("inode", "offset")} == place(two["y"])
            assert (one["writable"], two["writable"], three["writable"]) == (True, False, False)
            assert (three["y"] == 3).all()
            pids.add(two["pid"])
    assert len(pids) == staff.get("workers", 1)
    assert [copies(model) for model in (first, second, third)] == [(0, 0)] * 3


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(600)
@pytest.mark.parametrize("version", ["3.7", "3.8", "3.13"])
def test_a_chain_between_pythons_copies_nothing(load: Load, version: str) -> None:
    pythons.need(version)
    ours, theirs = load("ours"), load("theirs", env=Env(["numpy"], python=version))
    there = theirs(x=ours(x=started(ours))["y"])
    back = ours(x=there["y"])
    assert (there["writable"], back["writable"]) == (False, False)
    assert (back["y"] == 3).all()
    with pytest.raises(ModelError, match="read-only"):
        theirs(do="in_place", x=back["y"])
    assert copies(ours) == copies(theirs) == (0, 0)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_model_may_be_fed_its_own_outputs(load: Load, tmp_path: Path, workers: int) -> None:
    """It finds them as another model would, whichever of its workers made them."""
    model = load("loop", workers=workers)
    ys, pids = [started(model) for _ in range(4)], set()
    for turn in range(5):
        outs = together(model, ys, tmp_path / "go")
        assert all(out["writable"] == (turn == 0) for out in outs)
        ys = [out["y"] for out in outs]
        pids |= {out["pid"] for out in outs}
    assert all((y == 5).all() for y in ys)
    assert len(pids) == workers
    with pytest.raises(ModelError, match="read-only"):
        model(do="in_place", x=ys[0])
    assert copies(model) == (0, 0)


def test_parts_of_an_output_are_as_good_and_only_what_is_not_contiguous_is_copied(load: Load, place: Place) -> None:
    first, second = load("first"), load("second")
    y = first(x=started(first))["y"].reshape(10, -1)
    y[...] = np.arange(SIZE).reshape(10, -1)
    for part in (y[3:], y.reshape(-1)[7:100], y.view(np.int64)[2:], y[4]):
        out = second(x=part)
        assert {key: out[key] for key in ("inode", "offset")} == place(part)
        np.testing.assert_array_equal(out["y"], part + 1)
    assert copies(second) == (0, 0)
    for part in (y.T, y[:, ::2]):
        before, _ = copies(second)
        np.testing.assert_array_equal(second(x=part)["y"], part + 1)
        assert copies(second) == (before + part.nbytes, 0)


def test_what_a_model_passes_on_of_its_input_stays_where_it_is(load: Load, place: Place) -> None:
    first, second, third = load("first"), load("second"), load("third")
    y = first(x=started(first))["y"]
    passed = second(do="same", x=y)["y"]
    assert place(passed) == place(y[1:])
    assert third(do="sum", x=passed)["y"] == SIZE - 1
    assert copies(second) == copies(third) == (0, 0)


def test_text_of_one_model_is_text_for_another(load: Load) -> None:
    first, second = load("first"), load("second")
    text = first(do="text")["y"]
    assert second(do="same", x=text)["y"].tolist() == ["🦐"]


# ---------------------------------------------------------------------- what is given to be read can only be read


def test_another_model_cannot_change_an_output(load: Load) -> None:
    first, second = load("first"), load("second")
    y = first(x=started(first))["y"]
    with pytest.raises(ModelError, match="read-only"):
        second(do="in_place", x=y)
    with pytest.raises(WorkerCrashed, match="SIGSEGV"):
        second(do="by_force", x=y)
    tried = second(do="by_descriptor", x=y)
    assert (tried["written"], tried["refused"] >= 2) == (0, True)
    assert (y == 1).all()
    y[...] = 5  # it is the application's, as ever
    assert second(do="sum", x=y)["y"] == 5 * SIZE
    again = first(x=started(first, 6))["y"]  # and its writer goes on writing
    assert (again == 7).all()
    assert second(do="sum", x=again)["y"] == 7 * SIZE


def test_an_input_made_for_one_model_can_only_be_read_by_another(load: Load, tmp_path: Path) -> None:
    """The one that it was made for may change it, also after a restart."""
    first, second = load("first"), load("second")
    x = started(first)
    assert not second(x=x)["writable"]
    with pytest.raises(ModelError, match="read-only"):
        second(do="in_place", x=x)
    with pytest.raises(WorkerCrashed, match="SIGSEGV"):
        second(do="by_force", x=x)
    assert (x == 0).all()
    with pytest.raises(WorkerCrashed, match="SIGKILL"):
        first(x=x, seen=str(tmp_path / "seen"))
    assert (first(do="in_place", x=x)["y"] == 1).all()
    assert (x == 1).all()
    assert copies(first) == copies(second) == (0, 0)


# ---------------------------------------------------------------------- strict models


def test_a_strict_model_gets_one_copy_and_sees_nothing_of_others(load: Load, place: Place) -> None:
    """Only its own model's inputs: another's outputs lie beside those of other calls, another's inputs as well."""
    trusted, strict, other = load("trusted"), load("strict", sandbox="strict"), load("other", sandbox="strict")
    foreign = [trusted(x=started(trusted))["y"], started(trusted), started(other)]
    for array in foreign:
        before = copies(strict)
        out = strict(x=array)
        np.testing.assert_array_equal(out["y"], array + 1)
        assert copies(strict) == (before[0] + array.nbytes, before[1] + array.nbytes)
        assert not out["writable"]
        assert place(array)["inode"] != out["inode"]
        trusted(do="sum", x=array)
    own = started(strict)
    mine, theirs = (set(model(do="mapped")["inodes"]) for model in (strict, trusted))
    assert place(own)["inode"] in mine
    assert not mine & {place(array)["inode"] for array in foreign}
    assert {place(array)["inode"] for array in foreign} <= theirs  # a trusted one has all of them, to be read


def test_a_model_that_is_loaded_twice_shares_nothing(load: Load) -> None:
    one, two = load("one", sandbox="strict"), load("two", sandbox="strict")
    for _ in range(3):
        two(x=one(x=started(one))["y"])
        one(x=two(x=started(two))["y"])
    first, second = (set(model(do="mapped")["inodes"]) for model in (one, two))
    assert first
    assert not first & second


def test_outputs_of_a_strict_model_go_on_with_one_copy_into_the_next(load: Load) -> None:
    strict, trusted = load("strict", sandbox="strict"), load("trusted")
    y = strict(x=started(strict))["y"]
    assert (trusted(x=y)["y"] == 2).all()
    assert (copies(strict), copies(trusted)) == ((0, y.nbytes), (y.nbytes, 0))


# ---------------------------------------------------------------------- how long it lives


def test_what_another_model_holds_is_not_written_over(load: Load) -> None:
    first, second = load("first"), load("second")
    second(do="keep", x=first(x=started(first, 1))["y"])
    x = started(first)
    for number in range(50):
        x[...] = number
        assert (first(x=x)["y"] == number + 1).all()
    assert (second(do="kept")["y"] == 2).all()
    assert copies(first) == (0, 0)


def test_memory_goes_back_to_its_writer_when_both_have_let_go(load: Load) -> None:
    first, second = load("first", memory_limit=1 << 20), load("second")
    y = first(x=started(first))["y"]
    second(do="keep", x=y)
    del y
    with pytest.raises(ArenaFull, match="no room for its outputs"):
        first(x=started(first), timeout=3.0)
    second(do="let_go")
    second(do="sum", x=np.ones(1))  # what was let go comes with an answer
    assert (first(x=started(first))["y"] == 1).all()


@pytest.mark.parametrize("end", ["closed", "crashed", "reloaded"])
def test_an_output_outlives_its_writer(load: Load, end: str, tmp_path: Path) -> None:
    first, second = load("first"), load("second")
    y, unseen = (first(x=started(first, number))["y"] for number in (1, 2))
    second(do="keep", x=y)
    if end == "closed":
        first.close()
    elif end == "reloaded":
        first.reload()
    else:
        with pytest.raises(WorkerCrashed):
            first(x=started(first), seen=str(tmp_path / "seen"))
    assert (second(do="kept")["y"] == 2).all()
    assert (second(x=y)["y"] == 3).all()
    assert (second(x=unseen)["y"] == 4).all()
    if end != "closed":
        assert (second(x=first(x=started(first))["y"])["y"] == 2).all()


def test_a_writer_that_dies_in_mid_chain_takes_nothing_along(load: Load, tmp_path: Path) -> None:
    first, second = load("first"), load("second")
    y = first(x=started(first))["y"]
    computed = second.submit(x=y, until=str(tmp_path / "go"))
    with pytest.raises(WorkerCrashed):
        first(x=started(first), seen=str(tmp_path / "seen"))
    del y
    for number in range(5):
        first(x=started(first, number))
    (tmp_path / "go").touch()
    assert (computed.result(GUARD)["y"] == 2).all()


@pytest.mark.parametrize("staff", [{}, {"workers": 2}, {"standby": 1}], ids=str)
def test_a_reader_that_dies_in_mid_chain_is_replaced_without_a_copy(
    load: Load, tmp_path: Path, staff: dict[str, Any]
) -> None:
    first, second = load("first"), load("second", retries=1, **staff)
    y = first(x=started(first))["y"]
    out = second(x=y, seen=str(tmp_path / "seen"))
    assert second.stats().crashes == 1
    assert ((out["y"] == 2).all(), (y == 1).all(), out["writable"]) == (True, True, False)
    assert copies(second) == (0, 0)
