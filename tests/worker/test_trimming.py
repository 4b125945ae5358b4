"""Memory follows the load: what a burst has grown is given back on both sides, and what somebody has is not."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from waits import GUARD, until

import isopod
from isopod.ipc import protocol
from isopod.ipc.arena import FIRST_SEGMENT
from isopod.ipc.errors import ProtocolError
from isopod.ipc.protocol import Message
from isopod.runtime import trimming

LARGE = 8 << 20  # bytes


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trimming, "PERIOD", 0.05)
    monkeypatch.setattr(trimming, "_LONGEST", 0.1)


@pytest.fixture
def model(models: Path) -> Iterator[isopod.Model]:
    with isopod.load(models / "basic.py:Swiss") as model:
        model(do="pid")
        yield model


def mapped(pid: int | str, what: str) -> int:
    """Bytes of shared memory of ours that a process has mapped."""
    total = 0
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        if f"memfd:isopod-{what}" in line:
            first, last = line.split()[0].split("-")
            total += int(last, 16) - int(first, 16)
    return total


def burst(model: isopod.Model, count: int = 3) -> list[Any]:
    """Calls at once, with large inputs, and outputs that are as large and the worker's own."""
    x = np.ones(LARGE // 4, np.float32)
    futures = [model.submit(do="double", x=x * number) for number in range(count)]
    return [future.result(GUARD) for future in futures]


def at_rest(model: isopod.Model) -> bool:
    stats = model.stats()
    return max(stats.shared_bytes, stats.shared_bytes_outputs) <= 2 * FIRST_SEGMENT


def test_a_burst_leaves_nothing_behind(model: isopod.Model) -> None:
    pid = model.health.pid or 0
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        outs = burst(model)
        assert [out["y"][0] for out in outs] == [0, 2, 4]
        assert model.stats().shared_bytes >= LARGE
        assert model.stats().shared_bytes_outputs >= 3 * LARGE
        assert mapped(pid, "inputs") >= LARGE
        del outs
        until(lambda: at_rest(model))
        until(lambda: mapped("self", "inputs") + mapped("self", "outputs") <= 4 * FIRST_SEGMENT)
        until(lambda: mapped(pid, "inputs") + mapped(pid, "outputs") <= 4 * FIRST_SEGMENT)
        until(lambda: len(os.listdir("/proc/self/fd")) <= before + 4)
    assert "MB for outputs" in str(model.stats())


def test_nobody_looks_any_more_when_there_is_nothing_to_give_back(model: isopod.Model) -> None:
    burst(model)
    alarm = model._deployment._trimming._alarm
    until(lambda: at_rest(model) and alarm._timer is None)
    session = model._deployment.running()
    assert session is not None
    assert not session.control.trims
    del session
    burst(model)
    until(lambda: at_rest(model))


def test_what_the_application_keeps_stays_and_all_else_goes(model: isopod.Model) -> None:
    outs = burst(model, 4)
    kept = outs[1]["y"]
    mine = model.empty("x", LARGE // 4, np.float32)
    mine[:] = 5
    del outs
    until(lambda: LARGE <= model.stats().shared_bytes_outputs <= 2 * LARGE + FIRST_SEGMENT)
    assert (kept == 2).all()
    assert model(do="double", x=mine)["y"][-1] == 10
    assert model(do="double", x=kept)["y"][-1] == 4
    part = kept[5:7]
    del kept, mine
    until(lambda: model.stats().shared_bytes <= 2 * FIRST_SEGMENT)
    assert part.tolist() == [2, 2]
    del part
    until(lambda: at_rest(model))
    assert burst(model)[2]["y"][0] == 4


def test_what_the_model_keeps_stays(model: isopod.Model) -> None:
    model(do="keep", x=np.full(LARGE // 8, 3.0))
    outs = burst(model)
    del outs
    until(lambda: model.stats().shared_bytes_outputs <= 2 * FIRST_SEGMENT)
    assert model.stats().shared_bytes >= LARGE
    assert model(do="kept")["sum"] == 3.0 * (LARGE // 8)
    model(do="let_go")
    until(lambda: at_rest(model))


def test_a_little_that_is_kept_does_not_keep_a_lot(model: isopod.Model) -> None:
    model(do="large", x=4 * LARGE)
    kept = model(do="same")["same"]  # carved out of what the large one has left
    assert model.stats().shared_bytes_outputs == 4 * LARGE
    for _ in range(5):
        model._deployment._trimming._look()
    until(lambda: model(do="private")["out"].sum() == 32 and model.stats().shared_bytes_outputs > 4 * LARGE)
    assert (kept == 7).all()
    del kept
    model(do="let_go")
    until(lambda: at_rest(model))


def test_what_another_model_has_stays(model: isopod.Model, models: Path) -> None:
    with isopod.load(models / "basic.py:Swiss", name="other") as other:
        other(do="keep", x=burst(model)[1]["y"])  # an output of the first one's worker, not copied
        assert other.stats().bytes_copied_in == 0
        mine = model.empty("x", LARGE // 4, np.float32)
        mine[:] = 4
        future = other.submit(do="echo", x=mine)
        del mine
        for _ in range(5):
            model._deployment._trimming._look()
        assert other(do="kept")["sum"] == 2.0 * (LARGE // 4)
        assert (future.result(GUARD)["x"] == 4).all()
        assert model.stats().shared_bytes_outputs >= LARGE
        del future
        other(do="let_go")
        until(lambda: at_rest(model))
        until(lambda: mapped(other.health.pid or 0, "outputs") <= 4 * FIRST_SEGMENT)
        assert burst(model)[1]["y"][0] == 2


def test_a_strict_model_gives_back_too(models: Path) -> None:
    with isopod.load(models / "basic.py:Swiss", sandbox="strict") as model:
        for _ in range(2):
            burst(model)
            until(lambda: at_rest(model))
            until(lambda: mapped(model.health.pid or 0, "inputs") <= 2 * FIRST_SEGMENT)


def test_workers_that_work_are_not_disturbed(models: Path) -> None:
    with isopod.load(models / "basic.py:Swiss", workers=2) as model:
        random = np.random.default_rng(0)
        for number in range(150):
            size = int(random.integers(1, 6)) * (1 << int(random.integers(8, 21)))
            x = np.full(size, number, np.float32)
            future = model.submit(do="double", x=x)
            assert (model(do="double", x=x)["y"] == 2 * number).all()
            assert (future.result(GUARD)["y"] == 2 * number).all()
            del future
        until(lambda: at_rest(model))


def test_a_worker_that_gives_back_what_it_does_not_have_is_ended(model: isopod.Model) -> None:
    burst(model)
    session = model._deployment.running()
    assert session is not None
    wrong: list[Any] = [99, "1", True, [], 2**70]
    for index in wrong:
        with pytest.raises(ProtocolError, match="which is not of its outbox"):
            session.control._take_back([index])
    frame = protocol.encode(Message("shed", {"indices": [99]}))
    session.on_control(len(frame).to_bytes(4, "little") + frame)
    until(session.exited.is_set)
    assert model(do="pid")["pid"] != session.process.pid


def test_what_a_worker_gives_back_wrongly_counts_on(model: isopod.Model) -> None:
    """Or it could have any amount of memory, of which the application holds a little everywhere."""
    kept = burst(model)
    session = model._deployment.running()
    assert session is not None
    segments = [weakref.ref(segment) for segment in session.control.outbox()]
    session.control._take_back(list(session.control._outbox))
    assert model.stats().shared_bytes_outputs == 0
    assert sum(segment.size for segment in session.control._shed) >= 3 * LARGE
    assert [out["y"][0] for out in kept] == [0, 2, 4]  # nothing of what the application has goes
    del kept
    assert not list(session.control._shed)
    assert all(segment() is None for segment in segments)
    session.process.kill()  # what it knows of its memory is wrong now
    session.exited.wait(GUARD)
    assert model(do="pid")["pid"] != session.process.pid


def test_a_worker_that_has_used_up_its_numbers_keeps_what_it_has(
    model: isopod.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    burst(model)
    session = model._deployment.running()
    assert session is not None
    monkeypatch.setattr(session.control, "_given", 60_000)
    until(lambda: model.stats().shared_bytes <= 2 * FIRST_SEGMENT)
    for _ in range(3):
        session.control.trim()
    assert model.stats().shared_bytes_outputs >= 3 * LARGE
    assert burst(model)[1]["y"][0] == 2


def test_a_worker_costs_little_private_memory(models: Path) -> None:
    """At most 12 MB over a bare interpreter that has imported numpy."""
    code = "import numpy, sys; print('ready', flush=True); sys.stdin.read()"
    with (
        isopod.load(models / "basic.py:Swiss") as model,
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as bare,
    ):
        assert bare.stdout is not None
        bare.stdout.readline()
        for _ in range(100):
            model(do="double", x=np.ones(1000))
        costs = (
            psutil.Process(model.health.pid).memory_full_info().uss - psutil.Process(bare.pid).memory_full_info().uss
        )
        bare.kill()
    assert costs < 12e6
