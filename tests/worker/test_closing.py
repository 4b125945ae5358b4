"""Closing a model, and letting go of one: its worker ends, what runs may finish, what was given lives on."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import threading
from pathlib import Path

import psutil
import pytest
from waits import GUARD

import isopod
from isopod import Closed


def test_closing_twice_is_once_and_then_nothing_works(models: Path) -> None:
    model = isopod.load(models / "basic.py:Scale")
    process = psutil.Process(model.health.pid)
    model(x=1)
    model.close()
    model.close()
    assert not process.is_running()
    for use in (
        lambda: model(x=1),
        lambda: model.submit(x=1),
        lambda: asyncio.run(model.acall(x=1)),
        lambda: list(model.map([{"x": 1}])),
        lambda: model.empty("x", 3),
    ):
        with pytest.raises(Closed, match="'Scale' is closed; load it again"):
            use()
    with isopod.load(models / "basic.py:Scale") as again:
        assert again(x=1)["y"] == 1


def test_closing_lets_running_calls_finish(models: Path, tmp_path: Path) -> None:
    model = isopod.load(models / "basic.py:Swiss")
    waiting = model.submit(do="wait_for_file", x=str(tmp_path / "go"))
    behind = model.submit(do="double", x=2)
    closer = threading.Thread(target=model.close, kwargs={"timeout": GUARD})
    closer.start()
    (tmp_path / "go").touch()
    assert waiting.result(GUARD)["seen"]
    assert behind.result(GUARD)["y"] == 4
    closer.join()
    assert model.health.state == "closed"


def test_closing_in_the_middle_of_a_call_says_so(models: Path) -> None:
    model = isopod.load(models / "basic.py:Swiss")
    endless = model.submit(do="sleep", x=3600)
    model.close(timeout=0.05)
    error = endless.exception(GUARD)
    assert isinstance(error, Closed), error
    assert "was closed" in str(error)
    with isopod.load(models / "basic.py:Scale") as again:
        assert again(x=1)["y"] == 1


def test_a_model_that_is_let_go_ends_its_worker(models: Path) -> None:
    model: isopod.Model | None = isopod.load(models / "basic.py:Scale")
    assert model is not None
    process = psutil.Process(model.health.pid)
    array = model.empty("x", 10)
    array[:] = 3
    answer = model(x=array)["y"]
    del model
    gc.collect()
    with contextlib.suppress(psutil.NoSuchProcess):  # it may be reaped between the two questions
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            os.sched_yield()
    assert array.tolist() == answer.tolist() == [3] * 10  # arrays outlive the model


def test_close_is_called_in_the_model(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="isopod.worker")
    with isopod.load(models / "basic.py:Scale") as model:
        model(x=1)
    assert "closed after 1" in caplog.messages
