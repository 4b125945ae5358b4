"""A hostile worker against a whole application, and a hostile application against a whole worker: real processes."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import select
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from waits import GUARD

import isopod
from isopod.ipc import channel, protocol
from isopod.ipc.layout import Layout
from isopod.ipc.protocol import Message
from isopod.ipc.ring import ReturnWriter
from isopod.runtime import intake
from isopod.runtime import process as processes
from isopod.runtime.environment import find_interpreter

MODELS = Path(__file__).resolve().parent / "models"
SEEDS = range(30)
PATIENT = isopod.Restart(max_restarts=None, backoff=0.01, max_backoff=0.01)


def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("profile", ["limits", "strict"])
def test_a_worker_that_lies_is_ended_and_the_next_one_serves(profile: str) -> None:
    """What comes out is an answer, or an error of ours; the call after it is answered, and rightly."""
    x = np.arange(64.0)
    ended = 0
    with isopod.load(MODELS / "liar.py:Liar", sandbox=profile, restart=PATIENT, timeout=GUARD) as model:
        model(x=x)
        before = resident()
        for seed in SEEDS:
            pid = model.health.pid
            try:
                out = model(x=x, seed=seed)
                for value in out.values():
                    np.asarray(value, dtype=object).tolist()
            except isopod.IsopodError as error:  # also a WorkerTimeout: it may lie about when it was done
                if isinstance(error, isopod.InternalError):
                    raise
            with contextlib.suppress(isopod.WorkerCrashed):  # its second answer, the honest one, is one too many
                model(x=x)
            np.testing.assert_array_equal(model(x=x)["y"], x + 1)
            ended += model.health.pid != pid
        assert ended >= len(SEEDS) // 2, "two answers to one call are the end of a worker"
        assert resident() - before < 256 << 20


@pytest.mark.parametrize("profile", ["limits", "strict"])
def test_a_worker_that_lends_for_ever_and_takes_nothing_back_is_ended(
    profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is to be given back to it would otherwise fill the application's memory, 8 bytes or more for each block."""
    monkeypatch.setattr(intake, "_MANY_OWED", 1 << 14)
    monkeypatch.setattr(intake, "_MOST_GROWTHS", 10)
    with isopod.load(MODELS / "lender.py:Lender", sandbox=profile, restart=PATIENT, timeout=GUARD) as model:
        with pytest.raises(isopod.WorkerCrashed, match=r"it lends more and more, and has yet to take \d+ blocks back"):
            set(map(len, (model(x=np.ones(3), lends=True) for _ in range(100))))
        np.testing.assert_array_equal(model(x=np.ones(3))["y"], np.full(3, 2.0))


def test_a_worker_takes_back_an_array_that_it_returns_again_and_again(tmp_path: Path) -> None:
    (tmp_path / "same.py").write_text(
        "import numpy as np\n"
        "from isopod import worker\n"
        "class Same:\n"
        "    def __init__(self):\n"
        "        self.y = worker.empty(3, np.float64)\n"
        "        self.y[...] = 7\n"
        "    def __call__(self):\n"
        "        return {'y': self.y}\n"
    )
    with isopod.load(tmp_path / "same.py:Same", timeout=GUARD) as model:
        for _ in range(Layout().returns + 200):
            assert model()["y"][0] == 7
        waiting = [len(one.waiting) for one in gc.get_objects() if isinstance(one, ReturnWriter)]
        assert waiting
        assert max(waiting) < 100, "they wait for room in the ring"


@pytest.fixture
def worker() -> Iterator[processes.WorkerProcess]:
    made = processes.spawn(find_interpreter().executable, {"PATH": os.environ["PATH"]}, Path(os.devnull))
    made.control.setblocking(True)
    made.control.settimeout(GUARD)
    yield made
    made.discard()


def hello(worker: processes.WorkerProcess) -> None:
    frames = channel.FrameBuffer()
    while not list(frames.feed(worker.control.recv(4096))):
        pass


def said(name: str, /, **fields: Any) -> bytes:
    return channel.framed(protocol.encode(Message(name, fields)))


LOAD = {
    "name": "x", "target": {}, "arguments": {}, "environment": {}, "memory_limit": 1, "log_level": 0,
    "sandbox": {"profile": "strict"},
}  # fmt: skip
NONSENSE = {
    "a frame that is too long": b"\xff\xff\xff\xff",
    "bytes that are no message": channel.framed(b"\xc1" * 40),
    "a list of a million maps": channel.framed(b"\xdd\x00\x0f\x00\x00" + b"\x80" * 1000),
    "what is the worker's to say": said("bye"),
    "a message before its time": said("drain"),
    "memory without its descriptors": said("attach", version=protocol.VERSION),
    "another version": said("attach", version=99),
    "a load before the memory": said("load", **LOAD),
    "leave to go on before the lock": said("proceed"),
    "random bytes": random.Random(5).randbytes(5000),
}


@pytest.mark.parametrize("what", NONSENSE)
def test_an_application_that_talks_nonsense_loses_its_worker(what: str, worker: processes.WorkerProcess) -> None:
    hello(worker)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has gone in the middle of it
        worker.control.sendall(NONSENSE[what])
    if what in ("random bytes", "a frame that is too long"):
        worker.control.shutdown(1)
    dead, _, _ = select.select([worker.pidfd], [], [], GUARD)
    assert dead, "it waits for more"
    status, _ = worker.reap()
    assert status != 0
    text = (processes.read_available(worker.stderr) or b"").decode()
    assert "ProtocolError" in text or status == -9, text
    assert "Traceback" not in text.replace("Traceback (most recent call last)", "", 1), "one error, and no other"


def test_an_end_in_the_middle_of_a_word_is_an_end(worker: processes.WorkerProcess) -> None:
    hello(worker)
    worker.control.sendall(said("attach", version=2)[:7])
    worker.control.shutdown(2)
    dead, _, _ = select.select([worker.pidfd], [], [], GUARD)
    assert dead
