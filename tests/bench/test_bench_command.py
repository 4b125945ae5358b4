"""``isopod bench`` as a user runs it: tables, JSON, a report, exit codes, Ctrl-C."""

from __future__ import annotations

import io
import json
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from application import MODELS
from demo.command import COMMAND, environment, isopod

from isopod.cli.bench import tell
from isopod.cli.screen import Screen
from isopod.runtime.bench import Benchmark, Series
from isopod.runtime.observe.phases import NAMES

DOUBLE = f"{MODELS / 'basic.py'}:double"


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return isopod("bench", *arguments, cwd=folder, COLUMNS="80")


def test_tables_and_a_report_and_the_progress_apart(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    done = bench(
        tmp_path, DOUBLE, "--input", "x:float32:n", "--sizes", "n=1,1k", "--calls", "6", "--callers", "1,2",
        "--pace", "100us", "--report", "out.html",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    words = [line.split() for line in done.stdout.splitlines()]
    assert ["n=1,", "4", "B", "in", "process"] in [line[:5] for line in words]
    assert ["copy", "in"] in [line[:2] for line in words]
    for fact in ("One call, back to back: µs", "One call, 100 µs after the other: µs", "n=1024: x float32 (1024,)",
                 "Callers at once, n=1, 4 B: µs", "report: out.html"):  # fmt: skip
        assert fact in done.stdout, fact
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert (tmp_path / "out.html").read_text().startswith("<!doctype html>")
    assert "measuring" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_json_alone_on_stdout(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.arange(6.0))
    done = bench(tmp_path, DOUBLE, "--inputs", "x.npz", "--calls", "2", "--callers", "1", "--no-in-process", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, done.stderr, told["complete"]) == (0, "", True)
    assert {one["who"] for one in told["series"]} == {"isopod", "isopod, empty()"}
    assert all(one["calls"] == 2 for one in told["series"])


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        ([DOUBLE], "does not say how its inputs look (x)"),
        (["no.py:Net"], "there is no file"),
        ([DOUBLE, "--inputs", "no.npz"], "no.npz cannot be read"),
        ([DOUBLE, "--sizes", "n"], "is not SYMBOL=N"),
        ([DOUBLE, "--input", "x"], "is not NAME:DTYPE:DIMS"),
        ([DOUBLE, "--input", "x:floating:n"], "there is no dtype 'floating'"),
        ([DOUBLE, "--pace", "fast"], "--pace fast: write a time, as 1ms"),
        ([DOUBLE, "--callers", "1,many"], "--callers 1,many: write whole numbers"),
        ([DOUBLE, "--callers", "0"], "callers are numbers of threads"),
        ([DOUBLE, "--calls", "0"], "calls is a number of calls"),
        ([DOUBLE, "--random", "-1"], "--random is a number of samples"),
        ([DOUBLE, "--report", "x.gif"], "a picture ends with one of"),
        ([DOUBLE, "--problem", "no.toml"], "no.toml cannot be read"),
    ],
)
def test_what_cannot_begin_ends_with_2_and_one_line(tmp_path: Path, arguments: list[str], fact: str) -> None:
    done = bench(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert fact in done.stderr
    assert "isopod: " in done.stderr


def test_a_model_that_raises_ends_with_2_and_its_traceback(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", do="raise", x=1)
    done = bench(tmp_path, f"{MODELS / 'basic.py'}:Swiss", "--inputs", "x.npz", "--no-in-process")
    assert done.returncode == 2
    assert "ModelError" not in done.stderr.splitlines()[0]
    assert "raised" in done.stderr


def test_ctrl_c_ends_it_with_what_there_is(tmp_path: Path) -> None:
    arguments = [DOUBLE, "--input", "x:float32:n", "--sizes", "n=1,2", "--callers", "1", "--seconds", "600"]
    process = subprocess.Popen(
        [*COMMAND, "bench", *arguments], cwd=tmp_path, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    while "measuring" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in out
    # Ctrl-C may have come before anything was counted: then there is nothing to tell.
    assert not out or out.endswith("Interrupted: these are the figures until then.\n")


def test_help_teaches(tmp_path: Path) -> None:
    for command, facts in (("bench", ("--sizes", "examples:", "A B C C B A", "in process:")), ("trace", ("perfetto",))):
        done = isopod(command, "--help", cwd=tmp_path)
        assert done.returncode == 0
        for fact in facts:
            assert fact in done.stdout
        assert max(map(len, done.stdout.splitlines())) <= 100
        assert command in isopod("--help", cwd=tmp_path).stdout


def test_the_tables_of_a_stream_that_holds_no_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    spans = np.full((4, len(NAMES)), 2000, np.int64)
    one = Series("back to back", "isopod", "1 KB", 1024, samples=[22000] * 4, spans=[spans])
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    tell(Screen(stream), Benchmark("net", series=[one], notes=["a note"]))
    text = raw.getvalue().decode()
    assert "back to back: us" in text
    assert "all of it" in text
    assert "22.0" in text
    assert "a note" in text
    assert text.splitlines()[-1] == "Interrupted: these are the figures until then."
