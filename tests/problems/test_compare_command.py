"""``isopod compare`` as a user runs it: tables, JSON, exit codes, pictures, Ctrl-C."""

from __future__ import annotations

import io
import json
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from demo.command import COMMAND, environment, isopod
from problems.conftest import target

from isopod import Comparison
from isopod.cli.compare import tell
from isopod.cli.screen import Screen
from isopod.runtime.comparison import Failure, Implementation


@pytest.fixture
def folder(tmp_path: Path, scaling: Path) -> Path:
    """With the problem, and a file of inputs."""
    np.savez(tmp_path / "data.npz", x=np.arange(8, dtype=np.float32).reshape(2, 4) / 4)
    return tmp_path


def compare(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return isopod("compare", *arguments, cwd=folder)


def test_a_table_an_exit_code_and_the_progress_apart(folder: Path) -> None:
    done = compare(
        folder, target("right"), target("far"), "--problem", "scaling.toml", "--inputs", "data.npz", "--seconds", "0.1"
    )
    assert done.returncode == 1
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["right", "1", "of", "1"] in [line[:4] for line in lines]
    assert ["far", "y", "0.0%", "8", "0.5"] in [line[:5] for line in lines]
    assert "problem 'scaling' 1, 1 sample" in done.stdout
    assert "y[0, 0] of data.npz: 0.5, not 0" in done.stdout
    assert "... and 3 more" in done.stdout
    assert done.stdout.endswith("✗ not as it should be: far\n")
    assert "\x1b" not in done.stdout
    assert "timing" in done.stderr
    assert "timing" not in done.stdout


def test_a_threshold_makes_it_pass_and_without_one_nothing_is_judged(folder: Path) -> None:
    common = (target("right"), target("far"), "--inputs", "data.npz", "--seconds", "0")
    done = compare(folder, *common, "--fail-above", "0.5")
    assert (done.returncode, "✓ all outputs are within their tolerance" in done.stdout) == (0, True)
    done = compare(folder, *common, "--fail-above", "0.4")
    assert done.returncode == 1
    done = compare(folder, *common)
    assert (done.returncode, "nothing was judged" in done.stdout) == (0, True)
    assert "differ" in done.stdout


def test_json_and_a_picture(folder: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    done = compare(
        folder, target("right"), target("crashes_on_negatives"), "--problem", "scaling.toml", "--random", "2",
        "--seed", "1", "--size", "n=3", "--seconds", "0", "--json", "--plot", "out.html",
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (1, "")
    assert told["implementations"][1]["failures"][0]["what"] == "crashed"
    assert told["samples"] == 2
    assert (folder / "out.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        (["a.py:A"], "there are no inputs to compare with"),
        (["{right}", "--inputs", "data.npz"], "needs two models or more, not 1"),
        (["{right}", "{right}", "--random", "1"], "made from a problem"),
        (["{right}", "{right}", "--inputs", "data.npz", "--problem", "no.toml"], "no.toml cannot be read"),
        (["{right}", "{right}", "--inputs", "data.npz", "--fail-above", "much"], "a threshold is a number"),
        (["{right}", "{right}", "--inputs", "data.npz", "--size", "n"], "write a symbol and its size, as batch=4"),
        (["{right}", "{right}", "--inputs", "data.npz", "--plot", "x.gif"], "a picture ends with one of"),
        (["{right}", "{right}", "--inputs", "data.npz", "--plot", "no/x.png"], "there is no folder"),
        (["{right}", "{right}", "--inputs", "no.npz"], "no.npz cannot be read"),
    ],
)
def test_what_cannot_begin_ends_with_2_and_one_line(folder: Path, arguments: list[str], fact: str) -> None:
    done = compare(folder, *(word.format(right=target("right")) for word in arguments))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("isopod: ")
    assert fact in done.stderr


def test_ctrl_c_ends_it_with_what_there_is(folder: Path) -> None:
    arguments = [target("right"), target("far"), "--inputs", "data.npz", "--seconds", "600"]
    process = subprocess.Popen(
        [*COMMAND, "compare", *arguments], cwd=folder, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    while "timing" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "0.5" in out
    assert out.endswith("Interrupted: these are the figures until then.\n")


def test_help_teaches(tmp_path: Path) -> None:
    done = isopod("compare", "--help", cwd=tmp_path)
    assert done.returncode == 0
    for fact in ("--fail-above", "examples:", "a problem says", "exit codes:", "A B B A"):
        assert fact in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "compare" in isopod("--help", cwd=tmp_path).stdout


def test_the_table_of_a_stream_that_holds_no_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    one = Implementation("old", "old.py:Net", failures=[Failure(f"s{n}", "raised", "no\nmore") for n in range(9)])
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    tell(Screen(stream), Comparison("", [one], 9, "old"))
    text = raw.getvalue().decode()
    assert "old    0 of 9  " in text
    assert "raised on s0: no\n" in text
    assert "also on s1, s2, s3, s4, s5 and 3 more" in text
    assert text.splitlines()[-1] == "no not as it should be: old"
