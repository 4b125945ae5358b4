"""Zero copies, proven by counting and by place: both sides say which page of which file an array lies in."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from waits import until

import isopod
from isopod import ArenaFull, ModelError


@pytest.fixture(scope="module")
def place(models: Path) -> Callable[[Any], dict[str, int]]:
    spec = importlib.util.spec_from_file_location("models_basic", models / "basic.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[[Any], dict[str, int]] = module.place
    return found


class Copies:
    """Bytes copied in and out since it was made."""

    def __init__(self, model: isopod.Model) -> None:
        self.model = model
        stats = model.stats()
        self.before = (stats.bytes_copied_in, stats.bytes_copied_out)

    @property
    def made(self) -> tuple[int, int]:
        stats = self.model.stats()
        return stats.bytes_copied_in - self.before[0], stats.bytes_copied_out - self.before[1]


@pytest.fixture
def copies(swiss: isopod.Model) -> Iterator[Copies]:
    swiss(do="let_go")
    yield Copies(swiss)
    swiss(do="let_go")
    # The dispatcher may be about to deliver what nobody waited for.
    until(lambda: swiss.stats().shared_bytes_used == 0)


def test_an_input_of_a_call_that_raises_is_not_kept_by_its_traceback(swiss: isopod.Model, copies: Copies) -> None:
    for _ in range(3):
        with pytest.raises(isopod.ModelError, match="outer reason"):
            swiss(do="raise", x=np.ones(16))
        assert swiss.stats().shared_bytes_used == 0


def test_an_input_made_in_shared_memory_is_seen_where_it_lies(
    swiss: isopod.Model, copies: Copies, place: Callable[[Any], dict[str, int]]
) -> None:
    array = swiss.empty("x", (16, 16), np.float32)
    array[:] = 1
    for view in (array, array[4:], array[3:5], array.reshape(-1)[7:], array.reshape(4, 64), array.view(np.uint8)):
        assert dict(swiss(do="place", x=view)) == place(view)
    assert copies.made == (0, 0)
    swiss(do="place", x=array.T)
    assert copies.made == (array.nbytes, 0)


def test_a_plain_array_costs_one_copy_in_and_a_private_output_one_out(swiss: isopod.Model, copies: Copies) -> None:
    array = np.ones((100, 7), np.float64)
    swiss(do="place", x=array)
    assert copies.made == (array.nbytes, 0)
    swiss(do="place", x=array[:, ::2])
    assert copies.made == (array.nbytes + 100 * 4 * 8, 0)
    out = swiss(do="private")["out"]
    assert copies.made == (array.nbytes + 100 * 4 * 8, out.nbytes)


def test_an_output_made_in_shared_memory_is_seen_where_it_lies(
    swiss: isopod.Model, copies: Copies, place: Callable[[Any], dict[str, int]]
) -> None:
    answer = swiss(do="shared")
    whole = answer["whole"]
    assert place(whole) == {"inode": answer["inode"], "offset": answer["offset"]}
    assert place(answer["part"]) == {"inode": answer["inode"], "offset": answer["offset"] + 32}
    assert whole.tolist() == np.arange(32).reshape(4, 8).tolist()
    assert answer["part"].tolist() == whole[1:3].tolist()
    whole[1, 0] = -1
    assert answer["part"][0, 0] == answer["turned"][2, 0] == -1
    assert copies.made == (0, 0)


def test_an_output_that_is_a_view_of_an_input_is_that_memory(
    swiss: isopod.Model, copies: Copies, place: Callable[[Any], dict[str, int]]
) -> None:
    array = swiss.empty("x", (4, 4), np.int64)
    array[:] = np.arange(16).reshape(4, 4)
    answer = swiss(do="slice", x=array)
    assert place(answer["whole"]) == place(array)
    assert answer["part"].tolist() == array[1:].tolist()
    assert answer["flat"].tolist() == [3, 4, 5, 6]
    changed = swiss(do="in_place", x=array)["x"]
    assert array[0, 0] == changed[0, 0] == 1
    assert copies.made == (0, 0)


def test_a_plain_input_that_comes_back_lives_as_long_as_it_is_wanted(swiss: isopod.Model, copies: Copies) -> None:
    flat = swiss(do="slice", x=np.arange(16).reshape(4, 4))["flat"]
    for _ in range(20):
        swiss(do="echo", x=np.full((4, 4), -1))
    assert flat.tolist() == [3, 4, 5, 6]
    assert swiss.stats().shared_bytes_used > 0
    del flat


def test_an_output_goes_back_in_without_a_copy(
    swiss: isopod.Model, copies: Copies, place: Callable[[Any], dict[str, int]]
) -> None:
    out = swiss(do="shared")["whole"]
    assert dict(swiss(do="place", x=out)) == place(out)
    again = swiss(do="echo", x=out[1:])["x"]
    assert place(again) == place(out[1:])
    assert copies.made == (0, 0)


def test_an_output_of_one_model_is_handed_to_another_without_a_copy(
    swiss: isopod.Model, copies: Copies, models: Path, place: Callable[[Any], dict[str, int]]
) -> None:
    with isopod.load(models / "basic.py:Swiss", name="other") as other:
        out = swiss(do="shared")["whole"]
        assert dict(other(do="place", x=out)) == place(out)
        back = other(do="slice", x=out)["part"]
        assert place(back) == place(out[1:])
        assert dict(swiss(do="place", x=back)) == place(back)
        stats = other.stats()
        assert (stats.bytes_copied_in, stats.bytes_copied_out) == (0, 0)
    assert back.tolist() == out[1:].tolist()
    assert copies.made == (0, 0)


def test_a_model_may_keep_an_input_and_its_block_waits(swiss: isopod.Model, copies: Copies) -> None:
    swiss(do="keep", x=np.full(1000, 5.0))
    for number in range(20):
        swiss(do="echo", x=np.full(1000, float(number)))
        assert swiss(do="kept")["values"].tolist() == [5.0] * 1000
    assert swiss.stats().shared_bytes_used > 0
    swiss(do="let_go")
    swiss(do="pid")
    assert swiss.stats().shared_bytes_used == 0


def test_what_was_kept_may_be_returned_and_let_go_at_once(swiss: isopod.Model, copies: Copies) -> None:
    for number in range(20):
        before = swiss(do="pid")["pid"]
        swiss(do="keep", x=np.full(1000, number))
        futures = [swiss.submit(do="hand_over"), *(swiss.submit(do="echo", x=np.zeros(1000)) for _ in range(3))]
        assert futures[0].result(60)["kept"].tolist() == [number] * 1000
        assert swiss(do="pid")["pid"] == before
        futures.clear()


def test_the_same_output_again_and_again_is_one_memory(
    swiss: isopod.Model, copies: Copies, place: Callable[[Any], dict[str, int]]
) -> None:
    first, second = swiss(do="same"), swiss(do="same")
    places = {tuple(place(array).values()) for answer in (first, second) for array in answer.values()}
    assert len(places) == 1
    swiss(do="let_go")
    assert first["same"].tolist() == second["again"].tolist() == [7] * 16
    assert copies.made == (0, 0)


def test_outputs_return_to_the_worker_however_many_there_are(models: Path) -> None:
    """More of them than the ring for returns has entries, and all let go at once."""
    with isopod.load(models / "basic.py:Swiss", memory_limit=2 << 20, timeout=60) as model:
        held = [model(do="many_outputs", x=4000) for _ in range(3)]
        del held
        for _ in range(3):
            model(do="pid")
        assert model(do="large", x=1 << 20)["large"].nbytes == 1 << 20


def test_full_memory_names_who_holds_it_on_either_side(models: Path) -> None:
    with isopod.load(models / "basic.py:Swiss", memory_limit=1 << 20) as model:
        before = model(do="pid")["pid"]
        held = model.empty("x", 900_000, np.uint8)
        with pytest.raises(
            ArenaFull, match=r"model 'Swiss': no room for 878 KiB of x .* held by x \(1 arrays, 896 KiB"
        ):
            model(do="echo", x=np.zeros(900_000, np.uint8), timeout=0.2)
        del held
        out = model(do="large", x=1 << 20)
        for do in ("large", "large_private"):
            with pytest.raises(ArenaFull, match=r"no room for its outputs: .*no room for 878 KiB .* held by an output"):
                model(do=do, x=900_000, timeout=2)
        with pytest.raises(ArenaFull, match="no room for its outputs"):
            model(do="echo", x="a text that is longer than a record" * 100, timeout=2)
        with pytest.raises(ModelError, match="outer reason: yyyy"):
            model(do="raise", x="y" * 3000, timeout=2)
        del out
        assert model(do="large", x=900_000)["large"].nbytes == 900_000
        assert model(do="pid")["pid"] == before


def test_what_a_model_holds_is_told_of_where_there_is_no_room_to_answer(models: Path) -> None:
    with isopod.load(models / "basic.py:Swiss", memory_limit=1 << 20, timeout=60) as model:
        outs = model(do="large", x=1 << 20)
        with pytest.raises(ArenaFull, match="no room for its outputs"):
            model(do="keep", x=np.full(100, 5.0), said="more than fits into a record " * 100, timeout=3)
        del outs
        for number in range(5):
            model(do="echo", x=np.full(100, float(number)))
            assert model(do="kept")["values"].tolist() == [5.0] * 100
        before = model.health.pid
        model(do="let_go")
        model(do="pid")
        assert model.stats().shared_bytes_used == 0
        assert model(do="pid")["pid"] == before


def hang(model: isopod.Model) -> None:
    with pytest.raises(isopod.WorkerTimeout, match=r"a call took longer than its deadline of 0\.05 s"):
        model(do="sleep", x=3600, timeout=0.05)


def test_arrays_made_before_a_crash_still_cross_without_a_copy(
    models: Path, place: Callable[[Any], dict[str, int]]
) -> None:
    with isopod.load(models / "basic.py:Swiss") as model:
        array = model.empty("x", 100, np.int32)
        array[:] = 4
        out = model(do="shared")["whole"]
        hang(model)
        assert dict(model(do="place", x=array)) == place(array)
        assert out.tolist() == np.arange(32).reshape(4, 8).tolist()
        assert model(do="double", x=out)["y"].tolist() == (out * 2).tolist()  # copied: its segment died with its maker
