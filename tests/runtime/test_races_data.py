"""Memory at the wrong moment: blocks that come back before their answer is read, loans, forks, hostile numbers."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from waits import until

import isopod
from isopod.ipc import tensor
from isopod.ipc.errors import ProtocolError, SpecError
from isopod.ipc.lent import Lent
from isopod.ipc.record import Tensor
from isopod.ipc.segment import Segment

MODELS = Path(__file__).resolve().parent.parent / "models"


def test_what_comes_back_before_its_answer_is_read(tmp_path: Path) -> None:
    """Frame 1 is held by call 1 and returned by call 2, and the arena looks at the returns with both answers unread."""
    seen = tmp_path / "seen"

    def frames() -> Iterator[dict[str, Any]]:
        for number in range(1, 9):
            yield {"frame": np.full(300_000, number), **({"seen": str(seen)} if number == 3 else {})}
            if number == 3:
                until(seen.exists)

    with isopod.load(MODELS / "races.py:Tracker") as model:
        pid = model.health.pid
        sums = [out["sum"] for out in model.map(frames(), ahead=4)]
        assert sums == [300_000.0 * (2 * number - 1) for number in range(1, 9)]
        assert model.health.pid == pid


def test_a_block_that_was_not_held_cannot_come_back_by_both_ways() -> None:
    """A worker that returns an input of a call in flight must declare it as held in its answer."""
    with isopod.load(MODELS / "races.py:Hostile") as model, pytest.raises(isopod.WorkerCrashed, match="broke the data"):
        model(do="return_twice", x=np.zeros(100))


def test_two_loans_of_one_block_are_told_apart_by_nothing() -> None:
    """Which of them came back is not known, so both ranges stay until the last one is back."""
    lent = Lent()
    block = np.arange(16)
    first, second = (Tensor("x", 5, (8,), 1, 0, at, 64) for at in (0, 64))
    lent.add(first, block[:8])
    lent.add(second, block[8:])
    lent.release((1, 0))
    assert lent.find(first) is not None
    assert lent.find(second) is not None
    lent.release((1, 0))
    assert lent.find(first) is None
    with pytest.raises(ProtocolError):
        lent.release((1, 0))
    assert len(lent) == 0


def test_one_of_two_outputs_in_one_block_can_be_sent_back() -> None:
    with isopod.load(MODELS / "basic.py:Swiss") as model:
        outputs = model(do="shared")
        turned = outputs["turned"]
        del outputs
        model(do="pid")
        again = model(do="large_private", x=100)  # the worker looks at what came back
        del again
        assert (model(do="double", x=turned)["y"] == 2 * turned).all()


def test_a_fork_of_the_application_returns_nothing() -> None:
    """The copy drops its outputs: that is the copy's affair, and the original's arrays must stay as they are."""
    with isopod.load(MODELS / "races.py:Patient") as model:
        outputs = [model(x=number)["x"] for number in range(100)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads and fork: what this test is about
            pid = os.fork()
        if pid == 0:
            outputs.clear()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        more = [model(x=1000 + number)["x"] for number in range(100)]
        assert [int(x[0]) for x in outputs] == list(range(100))
        assert [int(x[0]) for x in more] == list(range(1000, 1100))


class FileIsGone:
    """An array that is read when somebody wants it."""

    def __init__(self) -> None:
        self.asked = 0

    def __array__(self, *_: Any, **__: Any) -> np.ndarray[Any, Any]:
        self.asked += 1
        if self.asked > 3:
            raise RuntimeError("asked again and again")
        raise FileNotFoundError("/mnt/frames/17.npy")


def test_an_input_that_cannot_be_read_is_no_reason_to_end_a_worker() -> None:
    with isopod.load(MODELS / "races.py:Patient") as model:
        pid, lazy = model.health.pid, FileIsGone()
        with pytest.raises(FileNotFoundError, match=r"17\.npy"):
            model(x=lazy)
        assert lazy.asked == 1
        assert model(x=1)["pid"] == pid


def test_outputs_that_cannot_be_read_go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a dtype that this side does not have, as bfloat16 without ml_dtypes; and those that came with them."""
    checked_dtype, unknown = tensor.checked_dtype, tensor.codes[np.dtype(np.float32)]

    def checked(code: int, shape: tuple[int, ...], nbytes: int) -> Any:
        if code == unknown:
            raise SpecError("what is float32?")
        return checked_dtype(code, shape, nbytes)

    monkeypatch.setattr(tensor, "checked_dtype", checked)
    with isopod.load(MODELS / "batches.py:Rows", memory_limit=8 << 20) as model:
        for _ in range(30):
            with pytest.raises(SpecError, match="what is float32"):
                model(x=np.ones((50_000, 1), np.float32))
        assert model(x=np.ones((50_000, 1)))["y"].sum() == 100_000


def test_text_that_would_fill_the_machine_is_refused() -> None:
    """One long line among many empty ones: as numpy's U it takes the longest for each."""
    lines, length = 50_000, 400_000
    offsets = np.zeros(lines + 1, "<u8")
    offsets[-1] = length
    with pytest.raises(SpecError, match=r"74\.5 GiB"):
        tensor.unpack_text(tensor.TEXT_FIXED, (lines,), offsets.tobytes() + b"x" * length)
    as_objects = tensor.unpack_text(tensor.TEXT_OBJECT, (lines,), offsets.tobytes() + b"x" * length)
    assert len(as_objects[-1]) == length


def test_a_spilled_record_in_an_impossible_block() -> None:
    class Nowhere:
        def consumed(self, key: tuple[int, int]) -> None:
            raise AssertionError(f"{key} would be written into the return ring")

    from isopod.ipc.transfer import Inbound

    segment = Segment.create(4096)
    inbound = Inbound(lambda _: segment, lambda _: False, Nowhere())  # type: ignore[arg-type]
    for block in (2**40, 2**63, 5):
        with pytest.raises(ProtocolError):
            inbound.spilled(Tensor("record", 6, (64,), 1, block, 64, 64))
    segment.close()


def test_a_bfloat16_input_that_is_returned() -> None:
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    with isopod.load(MODELS / "basic.py:anything") as model:
        x = model.empty("x", 8, bfloat16)
        x[:] = 3
        assert (model(x=x)["x"] == x).all()


def segments_of(pid: int | None) -> int:
    """How many segments that some worker wrote its outputs into a process has mapped."""
    return Path(f"/proc/{pid}/maps").read_text().count("isopod-outputs")


def test_outputs_that_are_sent_on_do_not_keep_their_dead_workers_memory() -> None:
    """With each worker that dies, a model writes into other segments: who was sent the old ones must forget them."""
    with isopod.load(MODELS / "basic.py:Swiss") as first, isopod.load(MODELS / "basic.py:Swiss") as second:
        most = 0
        for number in range(1, 7):
            x = first(do="shared")["whole"]
            assert (second(do="double", x=x)["y"] == 2 * x).all()
            assert second(do="keep", x=x[:2])["sum"] == x[:2].sum()
            most = max(most, segments_of(second.health.pid))
            before = x.copy()
            pid = first.health.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            until(lambda: first.health.pid not in (None, pid))  # noqa: B023  (it is called here, and not later)
            assert (x == before).all()
            assert (second(do="kept")["values"] == before[:2]).all()
            second(do="let_go")
            del x
            assert second(do="double", x=np.ones(3))["y"].sum() == 6  # and now it may forget
            assert number == 1 or segments_of(os.getpid()) <= 4
        assert most <= 4
        assert second.health.restarts == 0
