"""A worker's end of logging without a worker: what it sends, and what it does while nobody reads."""

from __future__ import annotations

import faulthandler
import logging
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from repository import ROOT
from waits import GUARD, until

from isopod.ipc import channel
from isopod.ipc.protocol import CHILD, PARENT, Conversation, Message
from isopod.opeworker.logs import ChannelHandler
from isopod.opeworker.outgoing import Outgoing
from isopod.runtime.logs import checked_record
from isopod.runtime.report import tidy_stacks


class Parent:
    """The other end: reads when it is told to."""

    def __init__(self) -> None:
        self.socket, self.theirs = socket.socketpair()
        self.socket.settimeout(GUARD)
        self._frames = channel.FrameBuffer()
        self._talk = Conversation(PARENT)
        self._talk.state = "ready"
        self.heard: list[Message] = []

    def read(self, until: str) -> list[Message]:
        """Until a record of that text, or a message of that name, has come."""
        while not any(until in (message.name, message.fields.get("text")) for message in self.heard):
            for frame in self._frames.feed(self.socket.recv(random.randrange(1, 5000))):
                message = self._talk.received(frame)
                if message.name == "log":
                    checked_record(message.fields)
                self.heard.append(message)
        return self.heard


@pytest.fixture
def parent() -> Iterator[Parent]:
    made = Parent()
    yield made
    made.socket.close()
    made.theirs.close()


@pytest.fixture
def outgoing(parent: Parent) -> Outgoing:
    talk = Conversation(CHILD)
    talk.state = "ready"
    return Outgoing(parent.theirs, talk)


@pytest.fixture
def handler(outgoing: Outgoing) -> ChannelHandler:
    return ChannelHandler(outgoing)


@pytest.fixture
def logger(handler: ChannelHandler) -> Iterator[logging.Logger]:
    made = logging.getLogger("model")
    made.propagate = False
    made.addHandler(handler)
    yield made
    made.removeHandler(handler)
    until(lambda: not handler._catching_up)


def accounted(heard: list[Message]) -> int:
    """Records that were sent, and those that were counted as lost."""
    return sum(1 + int(message.fields["lost"]) for message in heard if message.name == "log")


@pytest.mark.parametrize("size", [1, 700, 60_000])
def test_nobody_reads_and_logging_goes_on_and_every_record_is_sent_or_counted(
    parent: Parent, logger: logging.Logger, size: int
) -> None:
    for number in range(1000):
        logger.warning("%d %s", number, "x" * size)
    logger.warning("the last one")
    heard = parent.read("the last one")
    assert accounted(heard) == 1001
    assert len(heard) < 1001
    numbers = [int(message.fields["text"].split()[0]) for message in heard[:-1]]
    assert numbers == sorted(set(numbers))
    logger.warning("afterwards")
    assert parent.read("afterwards")[-1].fields["lost"] == 0


def test_what_must_be_said_is_said_in_the_middle_of_a_flood(
    parent: Parent, outgoing: Outgoing, logger: logging.Logger
) -> None:
    for number in range(2000):
        logger.warning("%d %s", number, "x" * 15_000)
    sender = threading.Thread(target=outgoing.send, args=("grow",), kwargs={"nbytes": 5})
    sender.start()
    logger.warning("while it waits for room")
    parent.read("grow")
    sender.join(GUARD)
    assert not sender.is_alive()
    parent.read("while it waits for room")
    assert accounted(parent.heard) == 2001
    outgoing.send("grow", nbytes=6)


def test_every_thread_is_accounted_for(parent: Parent, logger: logging.Logger) -> None:
    def talk(name: str) -> None:
        for number in range(300):
            logger.warning("%s %d %s", name, number, "x" * random.randrange(9000))

    threads = [threading.Thread(target=talk, args=(name,)) for name in "abcdef"]
    reader = threading.Thread(target=parent.read, args=("done",))
    for thread in (*threads, reader):
        thread.start()
    for thread in threads:
        thread.join(GUARD)
    logger.warning("done")
    reader.join(GUARD)
    assert accounted(parent.heard) == 6 * 300 + 1


def test_a_record_in_the_middle_of_sending_another_is_counted(
    parent: Parent, handler: ChannelHandler, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RACE log within a log: a signal handler, or a finaliser, that runs where the handler has the turn."""
    take = Outgoing._take

    def interrupted(self: Outgoing, data: bytes) -> int:
        signal.raise_signal(signal.SIGUSR1)
        return take(self, data)

    before = signal.signal(signal.SIGUSR1, lambda *_: logger.warning("interrupting"))
    try:
        with monkeypatch.context() as patch:
            patch.setattr(Outgoing, "_take", interrupted)
            logger.warning("interrupted")
        logger.warning("next")
    finally:
        signal.signal(signal.SIGUSR1, before)
    heard = parent.read("next")
    assert [(message.fields["text"], message.fields["lost"]) for message in heard] == [("interrupted", 0), ("next", 1)]


def test_a_message_in_the_middle_of_sending_another_goes_with_it(
    parent: Parent, outgoing: Outgoing, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RACE grow within a log: a finaliser that makes an array while a record is only half sent."""
    take = Outgoing._take
    sizes = iter([1, 3])

    def halting(self: Outgoing, data: bytes) -> int:
        size = next(sizes, len(data))
        if size == 1:
            outgoing.send("grow", nbytes=7)
        return take(self, data[:size])

    with monkeypatch.context() as patch:
        patch.setattr(Outgoing, "_take", halting)
        logger.warning("half sent")
    logger.warning("next")
    assert [message.name for message in parent.read("next")] == ["log", "grow", "log"]


def test_a_thread_that_is_stuck_while_it_has_the_turn_holds_up_no_other(
    parent: Parent, handler: ChannelHandler, logger: logging.Logger
) -> None:
    with handler._turn:
        other = threading.Thread(target=logger.warning, args=("from another",))
        other.start()
        other.join(GUARD)
        assert not other.is_alive()
    logger.warning("next")
    assert [message.fields["lost"] for message in parent.read("next")] == [1]


def test_what_is_logged_when_nobody_is_there_harms_nothing(
    parent: Parent, logger: logging.Logger, outgoing: Outgoing, capsys: pytest.CaptureFixture[str]
) -> None:
    parent.socket.close()
    logger.warning("the parent is dead")
    logger.warning("the parent is dead")
    outgoing._conversation.state = "over"
    logger.warning("after good-bye")
    assert capsys.readouterr().err == ""


def test_the_thread_that_delivers_later_is_not_in_a_crash_report(
    parent: Parent, handler: ChannelHandler, logger: logging.Logger, tmp_path: Path
) -> None:
    while not handler._catching_up:
        logger.warning("more")
    text = ""
    until = time.monotonic() + GUARD
    while "in _catch_up" not in text:
        assert time.monotonic() < until
        with (tmp_path / "stacks").open("w+") as file:
            faulthandler.dump_traceback(file)
            file.seek(0)
            text = file.read()
    assert "in _catch_up" not in tidy_stacks(text)
    assert "test_the_thread_that_delivers_later" in tidy_stacks(text)
    logger.warning("the last one")
    parent.read("the last one")


def test_fields_cross_as_they_are_or_as_text(parent: Parent, logger: logging.Logger) -> None:
    changing = [1, 2]
    fields = {
        "none": None, "yes": True, "number": -5, "huge": 2**80, "real": 0.5, "text": "t" * 5000, "list": changing,
        "tuple": (1, "b"), "dict": {"a": [1]}, "set": {1}, "keys": {1: 2}, "long": ["x" * 600] * 2, "bytes": b"ab",
    }  # fmt: skip
    logger.warning("fields", extra=fields)
    changing.append(3)
    got: dict[str, Any] = parent.read("fields")[-1].fields["fields"]
    assert {name: got[name] for name in ("none", "yes", "number", "real", "list", "tuple", "dict")} == {
        "none": None, "yes": True, "number": -5, "real": 0.5, "list": [1, 2], "tuple": [1, "b"], "dict": {"a": [1]},
    }  # fmt: skip
    assert {name: got[name] for name in ("huge", "set", "keys", "bytes")} == {
        "huge": str(2**80), "set": "{1}", "keys": "{1: 2}", "bytes": "b'ab'",
    }  # fmt: skip
    assert all(len(got[name].encode()) <= 1024 and "left out" in got[name] for name in ("text", "long"))
    logger.warning("many", extra={f"field {number}": number for number in range(100)})
    assert len(parent.read("many")[-1].fields["fields"]) == 24


def test_the_longest_record_fits_into_a_frame(parent: Parent, logger: logging.Logger) -> None:
    fields = {"\udc80🦐" * 1000 + str(number): "🦐" * 9000 for number in range(50)}
    names = dict.fromkeys(("name", "pathname", "funcName"), "\udc80🦐" * 5000)
    logger.handle(logging.makeLogRecord({**names, **fields, "msg": "🦐" * 90_000, "levelno": 10**9}))
    logger.warning("next")
    assert [message.fields["lost"] for message in parent.read("next")] == [0, 0]


SCRIPT = """
import importlib, logging, socket, sys, types
for name, path in (("isopod", ""), ("isopod.ipc", "ipc"), ("isopod.opeworker", "opeworker")):
    sys.modules[name] = module = types.ModuleType(name)
    module.__path__ = [path] if path else []
logs = importlib.import_module("isopod.opeworker.logs")
from isopod.ipc.protocol import CHILD, Conversation
from isopod.opeworker.outgoing import Outgoing
talk = Conversation(CHILD)
talk.state = "ready"
logs.install(Outgoing(socket.socket(fileno=int(sys.argv[1])), talk), logging.INFO)
logging.basicConfig(level=logging.DEBUG)
log = logging.getLogger("old")
log.debug("not wanted")
log.info("said on %s", "%d.%d" % sys.version_info[:2], extra={"one": 1})
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
for number in range(2000):
    log.warning("flood %d", number)
log.warning("the last one")
sys.stdin.read()
"""


@pytest.mark.parametrize("version", [f"3.{minor}" for minor in range(7, 15)])
def test_it_works_on_every_python(version: str, parent: Parent) -> None:
    kept = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    python = str(kept[-1]) if kept else shutil.which(f"python{version}")
    if python is None:
        pytest.skip(f"no Python {version}")
    command = [python, "-I", "-S", "-B", "-c", SCRIPT, str(parent.theirs.fileno())]
    with subprocess.Popen(
        command, cwd=ROOT, pass_fds=[parent.theirs.fileno()], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        parent.theirs.close()
        heard = parent.read("the last one")
        assert child.stdin is not None
        child.stdin.close()
        assert child.stderr is not None
        assert child.stderr.read() == b""
    first, failed = heard[0].fields, heard[1].fields
    assert (first["text"], first["level"], first["fields"]) == (f"said on {version}", logging.INFO, {"one": 1})
    assert "ZeroDivisionError" in failed["text"]
    assert accounted(heard) == 2003
