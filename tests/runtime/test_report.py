"""A crash report as text, as data, and as a file; and which ends of a worker are no crash."""

from __future__ import annotations

import gc
import json
import logging
import os
import select
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from waits import GUARD

import isopod
from isopod import CrashReport, SpecError, WorkerCrashed, WorkerTimeout
from isopod.cli.parser import main
from isopod.runtime import crashfiles
from isopod.runtime.history import History
from isopod.runtime.report import Death, RunningCall

MODELS = Path(__file__).resolve().parent.parent / "models"
STACKS = (
    'Fatal Python error: Segmentation fault\n\nThread 0x01 (most recent call first):\n  File "idle.py", line 1 in rest'
    '\n\nCurrent thread 0x02 (most recent call first):\n  File "m.py", line 3 in guilty'
    "\n\nExtension modules: numpy._core (total: 1)"
)
REPORT = CrashReport(
    model="detector",
    pid=4711,
    status=-11,
    phase="ready",
    reason="",
    uptime=3.14,
    calls=40,
    waiting_calls=2,
    call=RunningCall(17, 0.25, ("image float32 (1, 224, 224, 3)", "threshold")),
    stderr=("\x1b[31mred\x1b[0m", "", "a\x07bell\tand a tab"),
    stdout=(),
    stacks=STACKS,
    peak_rss=120 << 20,
    earlier=(Death("2026-01-01T00:00:00.000+00:00", "exited with code 3", 1.0, 1),),
    python="3.11.2",
    interpreter="python3.11",
    environment="cafe",
    time="2026-01-01T00:00:12.345+00:00",
    application=42,
)
TEXT = """\
the worker of model 'detector' (pid 4711) died while running a call (0.250 s into it): killed by SIGSEGV \
(a memory error in native code, or a stack overflow)
  call 17: image float32 (1, 224, 224, 3), threshold; 2 others waited in line
  up 3.1 s, 40 calls answered, peak memory 120 MiB
  Python stacks at the end:
    Current thread 0x02 (most recent call first):
      File "m.py", line 3 in guilty
    Thread 0x01 (most recent call first):
      File "idle.py", line 1 in rest
  last lines of stderr:
    red
    a\\x07bell  and a tab
  it died before:
    12.3 s earlier: exited with code 3 after 1.0 s and 1 call
  Python 3.11.2, environment cafe
  A new worker takes its place."""


def test_the_text() -> None:
    assert str(REPORT) == TEXT


def test_a_report_of_an_idle_worker_has_no_empty_parts() -> None:
    bare = replace(REPORT, call=None, waiting_calls=0, stderr=(), stacks="", peak_rss=0, earlier=(), python="")
    first, *rest = str(bare).splitlines()
    assert "died while idle: killed by SIGSEGV" in first
    assert rest == ["  up 3.1 s, 40 calls answered", "  A new worker takes its place."]


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"status": -9}, "killed by SIGKILL (the kernel's out-of-memory killer, or somebody's kill -9)"),
        ({"status": -9, "oom": "it was", "oom_killed": True}, "killed by the kernel's out-of-memory killer"),
        ({"status": -9, "reason": "a call was late"}, "a call was late"),
        ({"status": None, "reason": "a call was late"}, "a call was late"),
        ({"status": -11, "reason": "a call was late"}, "killed by SIGSEGV (a memory error"),
        ({"status": -6}, "killed by SIGABRT (native code gave up: a failed"),
        ({"status": -63}, "killed by signal 63"),
        ({"status": 0}, "exited with code 0 (it ended by itself"),
        ({"status": 77}, "exited with code 77 (os._exit"),
        ({"status": None}, "ended, but its exit status was taken"),
    ],
)
def test_the_cause(change: dict[str, Any], cause: str) -> None:
    report = replace(REPORT, **change)
    assert report.cause.startswith(cause)
    assert report.cause.startswith(report.ended)
    assert "(" not in report.ended
    if report.oom:
        assert f"\n  memory: {report.oom}\n" in str(report)


def test_much_is_shown_in_part_and_kept_whole() -> None:
    report = replace(
        REPORT,
        stderr=tuple(map(str, range(40))),
        stacks="\n\n".join(f"Thread 0x{number:02}:\n  File" for number in range(50)),
        call=RunningCall(1, 0.1, tuple(f"x{number} int8 ()" for number in range(20))),
    )
    text = str(report)
    assert "    30\n" in text
    assert "    29\n" not in text
    assert "... 40 lines more in the report's stacks" in text
    assert "x7 int8 (), and 12 more" in text
    data = report.to_dict()
    assert (len(data["stderr"]), len(data["call"]["inputs"])) == (40, 20)


def test_as_data_it_is_plain_and_complete() -> None:
    data = REPORT.to_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["schema"] == 1
    assert (data["cause"], data["doing"]) == (REPORT.cause, REPORT.doing)
    assert data["call"] == {"id": 17, "seconds": 0.25, "inputs": ["image float32 (1, 224, 224, 3)", "threshold"]}
    assert set(data) == {
        "schema", "ended", "cause", "doing", "model", "pid", "status", "phase", "reason", "uptime", "calls",
        "waiting_calls", "call", "stderr", "stdout", "stacks", "peak_rss", "oom", "oom_killed", "earlier", "replica",
        "python", "interpreter", "environment", "time", "application",
    }  # fmt: skip


def test_saved_to_a_folder_and_to_a_file(tmp_path: Path) -> None:
    path = replace(REPORT, model="a/b c\udcff").save(tmp_path)
    assert path == tmp_path / "isopod-crash-20260101T000012.345-a_b_c_-4711.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text())["model"] == "a/b c\udcff"
    file = REPORT.save(str(tmp_path / "last.json"))
    assert crashfiles.read(file) == {**REPORT.to_dict(), "text": TEXT}
    assert sorted(tmp_path.iterdir()) == sorted([path, file])


def test_what_cannot_be_saved_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        REPORT.save(tmp_path / "no such folder" / "report.json")
    with pytest.raises(TypeError):
        replace(REPORT, uptime=object()).save(tmp_path)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_keeps_the_newest_and_what_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "isopod-crash-notes.txt").touch()
    (tmp_path / "a.json").touch()
    for second in range(5):
        replace(REPORT, time=f"2026-01-01T00:00:0{second}.000+00:00").save(tmp_path)
    crashfiles.prune(tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.json",
        "isopod-crash-20260101T000003.000-detector-4711.json",
        "isopod-crash-20260101T000004.000-detector-4711.json",
        "isopod-crash-notes.txt",
    ]


def test_the_command_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = REPORT.save(tmp_path)
    assert main(["report", str(path)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(TEXT)
    assert "2026-01-01T00:00:12.345+00:00" in shown
    assert main(["report", "--json", str(path)]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(path.read_text())


@pytest.mark.parametrize("content", [None, "", "[1]", "{}", '{"schema": "1", "text": "x"}', '{"schema": 1, "text": 2}'])
def test_what_is_no_report_is_said_in_a_line(
    tmp_path: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "report.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SpecError, match=r"report\.json"):
        crashfiles.read(path)
    assert main(["report", str(path)]) == 2
    assert str(path) in capsys.readouterr().err


# ---------------------------------------------------------------------- by themselves


def reports(folder: Path, number: int) -> list[dict[str, Any]]:
    """Until so many are there: they are written when everybody has been told."""
    event = threading.Event()
    found: list[Path] = []
    for _ in range(int(GUARD / 0.01)):
        found = sorted(folder.glob("isopod-crash-*.json"))
        if len(found) >= number:
            return [crashfiles.read(path) for path in found]
        event.wait(0.01)  # a condition without an event: another thread writes
    raise AssertionError(f"only {len(found)} reports are there")


def test_each_crash_is_written_by_itself(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "when needed"
    with isopod.load(MODELS / "deaths.py:Dying", crash_reports=folder) as model:
        with pytest.raises(WorkerCrashed) as crashed:
            model(way="sigsegv")
        assert model(x=1)["y"] == 2  # the next deadline is not that of a start
        with pytest.raises(WorkerTimeout) as late:
            model(way="endless", timeout=0.5)
        assert model(x=1)["y"] == 2
    first, second = reports(folder, 2)
    for saved, error in ((first, crashed.value), (second, late.value)):
        assert isinstance(error.report, CrashReport)
        assert saved == {**error.report.to_dict(), "text": str(error.report)}
    assert "passed its deadline" in second["cause"]
    assert [death["ended"] for death in second["earlier"]] == ["killed by SIGSEGV"]


def test_the_variable_asks_for_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOPOD_CRASH_REPORTS", str(tmp_path / "by variable"))
    with isopod.load(MODELS / "deaths.py:Dying") as model, pytest.raises(WorkerCrashed):
        model(way="os_exit")
    assert reports(tmp_path / "by variable", 1)[0]["status"] == 4
    with isopod.load(MODELS / "deaths.py:Dying", crash_reports=tmp_path / "named") as model:
        with pytest.raises(WorkerCrashed):
            model(way="os_exit")
        assert model(x=1)["y"] == 2
    reports(tmp_path / "named", 1)
    assert len(list((tmp_path / "by variable").iterdir())) == 1


def test_a_load_that_dies_is_written(tmp_path: Path) -> None:
    model = tmp_path / "dies.py"
    model.write_text("import os\nprint('so long', flush=True)\nos._exit(9)\n")
    with pytest.raises(WorkerCrashed, match="exited with code 9"):
        isopod.load(f"{model}:f", crash_reports=tmp_path / "crashes")
    (saved,) = reports(tmp_path / "crashes", 1)
    assert (saved["phase"], saved["status"], saved["stdout"]) == ("loading", 9, ["so long"])


def test_a_folder_that_cannot_be_written_is_a_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a file").touch()
    caplog.set_level(logging.WARNING, "isopod")
    with isopod.load(MODELS / "deaths.py:Dying", crash_reports=tmp_path / "a file") as model:
        with pytest.raises(WorkerCrashed):
            model(way="os_exit")
        with pytest.raises(WorkerCrashed):
            model(way="os_exit")
        assert model(x=1)["y"] == 2
        event = threading.Event()
        said: list[str] = []
        for _ in range(int(GUARD / 0.01)):
            said = [record.getMessage() for record in caplog.records if record.name == "isopod"]
            if len(said) >= 2:
                break
            event.wait(0.01)
    assert len(said) == 2
    assert "the crash report of model 'Dying' could not be written" in said[0]
    assert "a file" in said[0]


def test_an_end_that_was_meant_is_no_crash(tmp_path: Path) -> None:
    """Closed, closed in mid-call, let go of, given up in mid-load, failed to load: none is written."""
    folder = tmp_path / "crashes"
    load = {"crash_reports": folder}
    isopod.load(MODELS / "deaths.py:Dying", **load).close()  # type: ignore[arg-type]
    hanging = isopod.load(MODELS / "deaths.py:Dying", **load)  # type: ignore[arg-type]
    future = hanging.submit(way="endless")
    hanging.close(timeout=0.1)
    assert isinstance(future.exception(GUARD), isopod.Closed)
    dropped = isopod.load(MODELS / "deaths.py:Dying", **load)  # type: ignore[arg-type]
    descriptor = os.pidfd_open(dropped.health.pid or 0)
    del dropped, hanging
    gc.collect()
    poll = select.poll()
    poll.register(descriptor)
    assert poll.poll(GUARD * 1000)
    os.close(descriptor)
    (tmp_path / "wrong.py").write_text("raise ValueError('no')\n")
    with pytest.raises(isopod.ModelError):
        isopod.load(tmp_path / "wrong.py:f", **load)  # type: ignore[arg-type]
    with isopod.load(MODELS / "deaths.py:Dying", **load) as model:  # type: ignore[arg-type]
        with pytest.raises(WorkerCrashed):
            model(way="os_exit")
        assert model(x=1)["y"] == 2
    assert [saved["status"] for saved in reports(folder, 1)] == [4]


def test_a_history_remembers_five() -> None:
    history = History()
    for number in range(7):
        history.note(replace(REPORT, calls=number), None)  # type: ignore[arg-type]
    assert [death.calls for death in history.deaths] == [2, 3, 4, 5, 6]


def test_a_peak_that_may_be_our_own_is_not_told() -> None:
    """The kernel counts the peak of the process that a worker was forked from as the worker's."""
    ours = bytearray(200 << 20)
    ours[:: 1 << 12] = b"x" * len(ours[:: 1 << 12])
    with isopod.load(MODELS / "deaths.py:Dying") as model:
        with pytest.raises(WorkerCrashed) as caught:
            model(way="os_exit")
        assert isinstance(caught.value.report, CrashReport)
        assert caught.value.report.peak_rss == 0
        assert model(x=1)["y"] == 2
