"""Lines on their way to ``logging``: cut, counted, bounded, and handed over whatever a handler does."""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import strategies  # noqa: F401  (its profile of hypothesis)
from hypothesis import given
from hypothesis import strategies as st
from waits import GUARD, until

from isopod.runtime import scribe as scribes
from isopod.runtime.logs import LineLog
from isopod.runtime.scribe import Allowance, Outlet, Scribe, Told


class Collected(logging.Handler):
    """Keeps what it is given; ``gate`` holds it up."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Any] = []
        self.gate = threading.Event()
        self.gate.set()
        self.inside = threading.Event()
        self.dropped = 0  # as the notices count them

    def emit(self, record: logging.LogRecord) -> None:
        self.inside.set()
        self.gate.wait(GUARD)
        notice = re.fullmatch(r"\.\.\. (\d+) lines were dropped: .*", record.getMessage())
        self.records.append(record)
        self.dropped += int(notice[1]) if notice else 0

    @property
    def texts(self) -> list[str]:
        return [record.getMessage() for record in list(self.records)]


@pytest.fixture
def collected() -> Iterator[Collected]:
    handler = Collected()
    logger = logging.getLogger("isopod.worker")
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(before)


@pytest.fixture
def scribe() -> Iterator[Scribe]:
    made = Scribe()
    yield made
    made.stop()


def line_log(scribe: Scribe, stream: str = "stdout", call: int | None = None) -> LineLog:
    return LineLog(Outlet(scribe, "m", 3), stream, lambda: call)


@pytest.mark.parametrize(("stream", "level"), [("stdout", logging.INFO), ("stderr", logging.WARNING)])
def test_a_line_is_a_record_that_says_where_it_is_from(
    scribe: Scribe, collected: Collected, stream: str, level: int
) -> None:
    log = line_log(scribe, stream, call=7)
    log.feed(b"one\n\ntw")
    log.feed(b"o\n\x1b[0m\nthree")
    log.finish()
    until(lambda: len(collected.records) == 4)
    assert collected.texts == ["one", "", "two", "three"]
    record = collected.records[0]
    assert (record.name, record.levelno) == ("isopod.worker.m.3", level)
    assert (record.model, record.replica, record.stream, record.call) == ("m", 3, stream, 7)
    assert log.tail == ["one", "", "two", "three"]


@pytest.mark.parametrize(
    ("data", "pieces"),
    [
        (b"x" * 40_000, [16_384, 16_384, 7_232]),
        (b"x" * 40_000 + b"\nnext", [16_384, 16_384, 7_232, 4]),
        (b"x" + "é".encode() * 10_000, [8_192, 1_809]),
        (("\r" + "#" * 99).encode() * 200, [99, 99]),
    ],
)
def test_a_long_line_is_cut_where_it_hurts_least(
    scribe: Scribe, collected: Collected, data: bytes, pieces: list[int]
) -> None:
    log = line_log(scribe)
    log.feed(data)
    log.finish()
    until(lambda: len(collected.records) == len(pieces))
    assert [len(text) for text in collected.texts] == pieces
    assert not [text for text in collected.texts if "\\x" in text]


@given(st.lists(st.binary(max_size=60) | st.just(b"y" * 20_000), max_size=8))
def test_no_byte_is_lost_however_it_is_read(chunks: list[bytes]) -> None:
    said: list[bytes] = []
    outlet: Any = SimpleNamespace(say=lambda stream, level, call, lines: said.extend(lines))
    log = LineLog(outlet, "stdout", lambda: None)
    for chunk in chunks:
        log.feed(chunk)
    log.finish()
    assert b"".join(said) == b"".join(chunks).replace(b"\n", b"")
    assert all(len(line) <= 16_384 for line in said)
    assert len(log.tail) <= 40


def test_an_allowance_is_a_burst_and_then_a_rate() -> None:
    now = [100.0]
    allowance = Allowance(rate=10, burst=50, clock=lambda: now[0])
    assert [allowance.take(30), allowance.take(30), allowance.take(30)] == [30, 20, 0]
    now[0] += 0.25
    assert allowance.take(30) == 2
    now[0] += 0.125
    assert allowance.take(30) == 1
    now[0] += 1000
    assert allowance.take(1000) == 50


def test_a_flood_is_bounded_counted_and_its_last_words_are_kept(scribe: Scribe, collected: Collected) -> None:
    """The clock stands still, so only the burst gets through; the notice comes though nothing else is said."""
    log = LineLog(Outlet(scribe, "m", 3, clock=lambda: 0.0), "stdout", lambda: None)
    for start in range(0, 30_000, 1000):
        log.feed(b"".join(b"%d\n" % number for number in range(start, start + 1000)))
    until(lambda: collected.dropped > 0)
    assert collected.texts[: scribes.BURST] == [str(number) for number in range(scribes.BURST)]
    assert collected.dropped == 30_000 - scribes.BURST
    assert len(collected.records) == scribes.BURST + 1
    assert collected.records[-1].levelno == logging.WARNING
    assert log.tail[-1] == "29999"


def test_no_line_is_uncounted_when_many_threads_write_for_a_slow_handler(scribe: Scribe, collected: Collected) -> None:
    collected.gate.clear()
    outlets = [Outlet(scribe, "m", number % 2, clock=time.monotonic) for number in range(2)]

    def write(outlet: Outlet) -> None:
        for _ in range(100):
            outlet.say("stdout", logging.INFO, None, [b"word"] * 97)
            outlet.drop(3)

    threads = [threading.Thread(target=write, args=(outlets[number % 2],)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(outlet.lines <= 10_000 for outlet in outlets)
    collected.gate.set()
    scribe.stop(GUARD)
    assert collected.texts.count("word") + collected.dropped == 6 * 100 * 100
    assert [outlet.lines for outlet in outlets] == [outlet.nbytes for outlet in outlets] == [0, 0]


def test_what_waits_is_bounded_in_bytes_and_one_worker_takes_no_others_place(
    scribe: Scribe, collected: Collected
) -> None:
    collected.gate.clear()
    loud, quiet = Outlet(scribe, "loud"), Outlet(scribe, "quiet")
    for _ in range(2000):
        loud.say("stdout", logging.INFO, None, [b"x" * 16_000])
    assert loud.nbytes <= 8 << 20
    quiet.say("stdout", logging.INFO, None, [b"a word"])
    collected.gate.set()
    scribe.stop(GUARD)
    assert "a word" in collected.texts
    assert sum(record.model == "loud" and record.stream == "stdout" for record in collected.records) < 600
    assert collected.dropped > 1400


def test_lines_that_nobody_wants_do_not_wait(scribe: Scribe, collected: Collected) -> None:
    logging.getLogger("isopod.worker.m").setLevel(logging.ERROR)
    try:
        log = line_log(scribe)
        log.feed(b"word\n" * 50_000)
        assert log.tail == ["word"] * 40
    finally:
        logging.getLogger("isopod.worker.m").setLevel(logging.NOTSET)
    scribe.stop(GUARD)
    assert collected.records == []


def told(logger: str = "a", **fields: object) -> Told:
    return Told(logging.WARNING, logger, "text", fields, "/m/model.py", 5, "f", None, 4)


def test_fields_replace_nothing_of_loggings_or_ours(scribe: Scribe, collected: Collected) -> None:
    outlet = Outlet(scribe, "m", 3)
    names = ("msg", "message", "asctime", "call", "stream", "getMessage", "__class__", "levelno", "field_msg", "own")
    outlet.tell(told(**dict.fromkeys(names, "x")))
    until(lambda: bool(collected.records))
    assert [type(record) for record in collected.records] == [logging.LogRecord]
    record: Any = collected.records[0]
    assert (record.getMessage(), record.levelno, record.call, record.stream) == ("text", 30, None, "logging")
    assert {name for name, value in vars(record).items() if value == "x"} == {
        *(f"field_{name}" for name in names[:-1]),  # the last but one clashes with what has become of the first
        "own",
    }
    logging.Formatter("%(asctime)s %(message)s").format(record)


def test_whatever_users_code_raises_the_next_line_is_written(
    scribe: Scribe, collected: Collected, capsys: pytest.CaptureFixture[str]
) -> None:
    class Moody(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            if record.getMessage() == "raise":
                raise KeyError("a filter's own")
            if record.getMessage() == "exit":
                sys.exit("a filter's own")
            return True

    moody = Moody()
    collected.addFilter(moody)
    line_log(scribe).feed(b"raise\nexit\nfine\n")
    until(lambda: collected.texts == ["fine"])
    shown = capsys.readouterr().err
    assert 'KeyError: "a filter\'s own"' in shown
    assert "SystemExit: a filter's own" in shown


def test_the_end_hands_over_what_is_there(collected: Collected) -> None:
    scribe = Scribe()
    log = LineLog(Outlet(scribe, "m", 3, clock=lambda: 0.0), "stdout", lambda: None)
    log.feed(b"word\n" * 15_000)
    scribe.stop(GUARD)
    assert (collected.texts.count("word"), collected.dropped) == (10_000, 5_000)


def test_the_end_does_not_wait_for_a_handler_that_hangs(collected: Collected) -> None:
    scribe = Scribe()
    collected.gate.clear()
    log = line_log(scribe)
    log.feed(b"one\ntwo\nthree\n")
    assert collected.inside.wait(GUARD)
    scribe.stop(timeout=0.1)
    assert scribe._thread.is_alive()
    collected.gate.set()
    scribe._thread.join(GUARD)
    assert not scribe._thread.is_alive()
    assert collected.texts == ["one"]  # once it was given up, nothing more is handed over


def test_a_flush_waits_for_what_was_said_before_it(scribe: Scribe, collected: Collected) -> None:
    collected.gate.clear()
    line_log(scribe).feed(b"last words\n")

    def open_it() -> None:
        collected.inside.wait(GUARD)
        collected.gate.set()

    opener = threading.Thread(target=open_it)
    opener.start()
    scribe.flush(GUARD)
    assert collected.texts == ["last words"]
    opener.join()


def test_a_handler_that_hangs_is_waited_for_once(scribe: Scribe, collected: Collected) -> None:
    collected.gate.clear()
    line_log(scribe).feed(b"held up\n")
    scribe.flush(0.01)
    assert collected.texts == []
    scribe.flush(10 * GUARD)  # comes back, though nothing has opened the gate
    collected.gate.set()
    until(lambda: collected.texts == ["held up"])


def test_a_handler_that_closes_a_model_does_not_wait_for_itself(scribe: Scribe) -> None:
    done = threading.Event()

    def close() -> None:
        scribe.flush(10 * GUARD)
        done.set()

    scribe.run(close)
    assert done.wait(GUARD)
