"""What a model prints and logs, as the application sees it."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from waits import GUARD, until

import isopod
from isopod import CrashReport, WorkerCrashed

BASE = "isopod.worker.Talker.0"


class Heard(logging.Handler):
    """Keeps the records of one test, and waits for them."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.lost = 0  # lines and records, as the notices count them
        self.kept = 0  # records of a flood
        self._changed = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        notice = re.match(r"\.\.\. (\d+) lines were dropped", text)
        with self._changed:
            self.lost += int(notice[1]) if notice else 0
            self.kept += text.startswith("record ")
            self.records.append(record)
            self._changed.notify_all()

    @property
    def texts(self) -> list[str]:
        return [record.getMessage() for record in list(self.records)]

    def one(self, text: str) -> logging.LogRecord:
        """The record of that text, once it is there."""
        return self.first(lambda said: said == text)

    def first(self, wanted: Callable[[str], bool]) -> logging.LogRecord:
        """The first record whose text is wanted, once it is there."""
        until = time.monotonic() + GUARD
        looked = 0
        while True:
            with self._changed:
                new = self.records[looked:]
                if not new:
                    assert self._changed.wait(until - time.monotonic()), self.texts[-5:]
                    continue
            for record in new:
                if wanted(record.getMessage()):
                    return record
            looked += len(new)

    def wait(self, condition: Callable[[], bool]) -> None:
        """Until it holds. Looked at after each record, so it must cost little."""
        with self._changed:
            assert self._changed.wait_for(condition, GUARD), self.texts[-5:]


@pytest.fixture(scope="module")
def workers_level(_supervisor_at_rest: None) -> Iterator[None]:
    logger = logging.getLogger("isopod.worker")
    logger.setLevel(logging.INFO)
    yield
    logger.setLevel(logging.NOTSET)


@pytest.fixture(scope="module")
def talker(workers_level: None, models: Path) -> Iterator[isopod.Model]:
    with isopod.load(models / "logs.py:Talker") as model:
        yield model


@pytest.fixture
def heard(workers_level: None) -> Iterator[Heard]:
    handler = Heard()
    logger = logging.getLogger("isopod.worker")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def attributes(record: Any) -> tuple[object, ...]:
    return record.model, record.replica, record.stream, record.call is not None


def test_a_record_keeps_its_level_its_logger_its_place_and_its_fields(talker: isopod.Model, heard: Heard) -> None:
    talker(do="record")
    record: Any = heard.one("took 3 steps")
    assert (record.name, record.levelno, record.levelname) == (f"{BASE}.talker.inner", logging.ERROR, "ERROR")
    assert (record.filename, record.module, record.funcName) == ("logs.py", "logs", "do_record")
    assert record.lineno > 1
    assert (record.seconds, record.shape) == (1.5, [1, 2])
    assert "do_record of" in record.who
    assert attributes(record) == ("Talker", 0, "logging", True)
    # What is ours is not the model's to set.
    assert record.field_model == "mine"
    assert talker(do="pid")["pid"] > 0


def test_lines_carry_their_stream_and_their_call(talker: isopod.Model, heard: Heard) -> None:
    talker(do="write", x=b"one line\n")
    record: Any = heard.one("one line")
    assert (record.name, record.levelno) == (BASE, logging.INFO)
    assert record.stream == "stdout"
    assert attributes(record)[:3] == ("Talker", 0, "stdout")


def test_the_running_call_is_that_of_its_record(talker: isopod.Model, heard: Heard) -> None:
    for text in ("first", "second"):
        talker(do="text", x=text)
    first, second = (vars(heard.one(text))["call"] for text in ("first", "second"))
    assert first is not None
    assert second > first


def test_only_what_the_application_wants_is_sent(talker: isopod.Model, heard: Heard) -> None:
    talker(do="levels")
    heard.one("at 50")
    assert [text for text in heard.texts if text.startswith("at ")] == ["at 20", "at 25", "at 30", "at 50"]
    talker(do="root")
    assert heard.one("from the root").name == BASE


def test_an_exception_comes_with_its_traceback_and_its_stack(talker: isopod.Model, heard: Heard) -> None:
    talker(do="exception")
    text = heard.first(lambda text: "it failed" in text).getMessage()
    assert text.startswith("it failed\nTraceback (most recent call last):")
    assert "ValueError: the reason" in text
    assert "Stack (most recent call last):" in text


def test_a_text_that_cannot_be_had_is_an_error_on_stderr_and_the_model_goes_on(
    talker: isopod.Model, heard: Heard
) -> None:
    talker(do="untellable")
    assert "whose text cannot be had: RuntimeError" in vars(heard.one("a field"))["thing"]
    heard.one("RuntimeError: it has no text")
    heard.one("--- Logging error ---")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("a\x1b]0;title\x07b\rc\0", "abc"),
        ("a lone \udc80 surrogate", r"a lone \udc80 surrogate"),
    ],
)
def test_a_records_text_is_no_order_to_a_terminal(talker: isopod.Model, heard: Heard, text: str, shown: str) -> None:
    talker(do="text", x=text)
    assert vars(heard.one(shown))["stream"] == "logging"


def test_a_long_text_keeps_its_beginning_and_its_end(talker: isopod.Model, heard: Heard) -> None:
    talker(do="long_text", x=100_000)
    text = heard.first(lambda text: text.startswith("begin")).getMessage()
    assert text.endswith("end")
    assert "bytes left out" in text
    assert len(text.encode()) <= 16 * 1024


def test_many_threads_may_log(talker: isopod.Model, heard: Heard) -> None:
    def numbers(name: str) -> list[int]:
        return [int(text[2:]) for text in heard.texts if text[:2] == f"{name} "]

    def all_are_accounted_for() -> bool:
        talker(do="text", x="and more")  # with which it is told what was lost before
        return sum(len(numbers(name)) for name in "abcdefgh") + heard.lost >= 400

    talker(do="threads", x=50)
    until(all_are_accounted_for)
    for name in "abcdefgh":
        assert numbers(name) == sorted(set(numbers(name)))
        assert heard.lost or numbers(name) == list(range(50))


def test_a_filter_a_finaliser_and_a_signal_handler_may_log(talker: isopod.Model, heard: Heard) -> None:
    talker(do="filter")
    assert heard.one("filtering").name == f"{BASE}.talker.filter"
    heard.one("filtered")
    talker(do="finaliser_and_signal")
    heard.one("finalised")
    heard.one("signalled")


def test_basic_config_neither_loses_nor_doubles_a_record(talker: isopod.Model, heard: Heard) -> None:
    talker(do="basic_config")
    heard.one("after basicConfig")
    talker(do="write", x=b"then\n")
    heard.one("then")
    assert heard.texts.count("after basicConfig") == 1


def test_a_handler_of_the_models_own_works_beside_ours(talker: isopod.Model, heard: Heard) -> None:
    talker(do="own_handler")
    heard.wait(lambda: heard.texts.count("twice") == 2)
    assert sorted(vars(record)["stream"] for record in heard.records) == ["logging", "stderr"]


def test_a_fork_of_the_model_logs_by_its_stderr(talker: isopod.Model, heard: Heard) -> None:
    talker(do="fork")
    record: Any = heard.one("WARNING talker.inner: from a fork")
    assert record.stream == "stderr"
    talker(do="text", x="the original goes on")
    heard.one("the original goes on")


def test_a_progress_bar_comes_through_as_its_last_state(talker: isopod.Model, heard: Heard) -> None:
    talker(do="bar", x=4000)
    heard.one("100%|##########| 4000/4000")
    assert all(re.fullmatch(r"( *\d+%\|#*\| \d+/4000)", text) for text in heard.texts), heard.texts


def test_a_flood_of_records_is_counted_and_the_last_one_arrives(models: Path, heard: Heard) -> None:
    with isopod.load(models / "logs.py:Talker") as model:
        model(do="flood", x=40_000)
        heard.wait(lambda: heard.kept + heard.lost >= 40_000)
        numbers = [int(text.split()[1]) for text in heard.texts if text.startswith("record ")]
        assert numbers == sorted(set(numbers))
        last_is_told = "the last one" in heard.texts
        assert len(numbers) + heard.lost + last_is_told in (40_000, 40_001)
        until = time.monotonic() + GUARD
        while "afterwards" not in heard.texts:
            assert time.monotonic() < until
            model(do="text", x="afterwards")  # it may say more again after a moment


def test_it_may_log_while_it_is_loaded_and_when_it_is_closed(models: Path, heard: Heard) -> None:
    with isopod.load(models / "logs.py:Talker", name="other"):
        assert heard.one("imported").name == "isopod.worker.other.0.talker.inner"
        assert attributes(heard.one("constructed")) == ("other", 0, "logging", False)
    assert attributes(heard.one("closed")) == ("other", 0, "logging", False)


def test_without_our_handler_records_come_as_lines(models: Path, heard: Heard) -> None:
    with isopod.load(models / "logs.py:Talker") as model:
        model(do="forced_config")
        assert vars(heard.one("mine: our handler is gone"))["stream"] == "stderr"


def test_loggers_are_bounded_for_they_are_never_freed(models: Path, heard: Heard) -> None:
    with isopod.load(models / "logs.py:Talker", name="many") as model:
        model(do="many_loggers", x=300)
        heard.one("number 299")
        records = [record for record in heard.records if record.getMessage().startswith("number ")]
        base = "isopod.worker.many.0"
        assert len(records) == 300
        assert records[0].name == f"{base}.many.0"
        assert records[-1].name == base
        assert len({record.name for record in records}) == 257 - 1  # one is the model's own, and one the base
        assert len([text for text in heard.texts if text.startswith("too many loggers")]) == 1


def test_the_last_words_of_a_crash_report_are_records_too(models: Path, heard: Heard) -> None:
    with isopod.load(models / "logs.py:Talker") as model:
        with pytest.raises(
            WorkerCrashed, match=r"(?s)last lines of stderr.*ERROR talker.inner: about to divide"
        ) as caught:
            model(do="die")
        assert isinstance(caught.value.report, CrashReport)
        assert caught.value.report.stderr[-2:] == ("ERROR talker.inner: about to divide", "by zero")
        assert heard.one("about to divide\nby zero").levelno == logging.ERROR
        assert model(do="pid")["pid"] > 0


def test_the_last_lines_are_in_the_report_even_if_logging_dropped_them(models: Path) -> None:
    logger = logging.getLogger("isopod.worker")
    logger.setLevel(logging.CRITICAL)
    try:
        with isopod.load(models / "logs.py:Talker") as model:
            model(do="prints", x=30_000)
            model(do="write", x=b"\x1b[1mthe very last\x1b[0m\n")
            with pytest.raises(WorkerCrashed) as caught:
                model(do="die")
            assert isinstance(caught.value.report, CrashReport)
            assert caught.value.report.stdout[-2:] == ("line 29999", "the very last")
            assert model(do="pid")["pid"] > 0
    finally:
        logger.setLevel(logging.INFO)


GOOD = {
    "level": 30, "logger": "a", "text": "b", "fields": {}, "path": "", "line": 1, "function": "", "call": 0, "lost": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"level": -1}, "level of a log record is -1"),
        ({"level": 2_000}, "level of a log record is 2000"),
        ({"lost": -5}, "lost of a log record is -5"),
        ({"call": -1}, "call of a log record is -1"),
        ({"text": "x" * 20_000}, "text in a log record is too long"),
        ({"logger": "x" * 2_000}, "text in a log record is too long"),
        ({"fields": {str(number): 1 for number in range(100)}}, "has 100 fields"),
        ({"fields": {"x" * 2_000: 1}}, "text in a log record is too long"),
        ({"fields": {"x": "y" * 2_000}}, "text in a log record is too long"),
        ({"fields": {"x": [[]] * 2_000}}, "list in a log record is too long"),
    ],
)
def test_a_record_out_of_bounds_ends_the_worker(models: Path, change: dict[str, Any], fact: str) -> None:
    from isopod.ipc.errors import ProtocolError
    from isopod.runtime.logs import checked_record

    checked_record(GOOD)
    with pytest.raises(ProtocolError, match=fact):
        checked_record({**GOOD, **change})


def test_a_hostile_record_ends_its_worker_and_no_other(talker: isopod.Model, models: Path, heard: Heard) -> None:
    with isopod.load(models / "logs.py:Talker") as model:
        with contextlib.suppress(WorkerCrashed):  # the answer may be faster than the news
            model(do="hostile", x={**GOOD, "level": 100_000})
        until(lambda: model.health.last_crash is not None)
        assert "broke the control protocol: the level of a log record is 100000" in str(model.health.last_crash)
        trap = {"__class__": 1, "msg": 2, "args": [3], "name": "n", "exc_info": 4, "getMessage": 5, "a\nb": 6}
        model(do="hostile", x={**GOOD, "logger": "\x1b[2J.\n..", "text": "%s %d\x1b[2J", "fields": trap})
        record = heard.one("%s %d")
        assert record.name == f"{BASE}.. .."
        assert isinstance(record, logging.LogRecord)
        assert (record.args, record.exc_info) == ((), None)
        assert vars(record)["field_exc_info"] == 4
        assert vars(record)["a b"] == 6
    talker(do="text", x="undisturbed")
    heard.one("undisturbed")


def test_a_death_is_noticed_while_another_worker_floods(models: Path) -> None:
    target = models / "logs.py:Talker"
    with isopod.load(target, name="flood") as flood, isopod.load(target) as victim:
        flood(do="print_for_ever")
        for _ in range(3):
            pid = victim(do="pid")["pid"]
            os.kill(pid, signal.SIGKILL)
            until(lambda: not victim.health.ready)
            assert victim(do="pid")["pid"] != pid
        assert flood(do="pid")["pid"] > 0


def test_a_handler_that_hangs_holds_up_neither_the_model_nor_other_calls(models: Path, heard: Heard) -> None:
    inside, go_on = threading.Event(), threading.Event()

    class Stuck(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            inside.set()
            go_on.wait(GUARD)

    stuck = Stuck()
    logger = logging.getLogger("isopod.worker")
    with isopod.load(models / "logs.py:Talker") as model:
        logger.addHandler(stuck)
        try:
            model(do="prints", x=50_000)
            model(do="flood", x=20_000)
            assert inside.is_set()
            assert model(do="pid")["pid"] > 0
        finally:
            logger.removeHandler(stuck)
            go_on.set()
        heard.wait(lambda: heard.lost > 0)
