"""The command line: what it teaches, how it fails, and the exit codes that it promises."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from demo.command import COMMAND, environment, isopod, need_its_pythons

from isopod import EnvironmentBuildError, SpecError
from isopod.cli import doctor
from isopod.cli.parser import main
from isopod.cli.screen import version
from isopod.demo import frameworks, pickles


@pytest.mark.parametrize("arguments", [["--help"], []], ids=["--help", "nothing"])
def test_help_teaches_by_example(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code: object = main(arguments)
    except SystemExit as done:
        code = done.code
    text = capsys.readouterr().out
    assert code == 0
    for example in ("isopod demo --full", "isopod doctor --json", "isopod.load(", "exit codes"):
        assert example in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("command", ["demo", "doctor", "version"])
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main([command, "--help"])
    assert done.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: isopod {command}")


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["fly"])
    assert done.value.code == 2
    assert "invalid choice: 'fly'" in capsys.readouterr().err


def test_version(tmp_path: Path) -> None:
    done = isopod("version", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith(f"isopod {version()} (Python 3.")
    assert isopod("--version", cwd=tmp_path).stdout == f"isopod {version()}\n"


def fail(error: BaseException) -> object:
    def run(*_: object, **__: object) -> int:
        raise error

    return run


def test_an_error_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "run", fail(SpecError("there is no such thing")))
    assert main(["doctor"]) == 2
    assert capsys.readouterr() == ("", "isopod: there is no such thing\n")


def test_the_resolvers_words_stand_under_the_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "run", fail(EnvironmentBuildError("it failed\nbecause of that")))
    assert main(["doctor"]) == 2
    assert capsys.readouterr().err == "isopod: it failed\n  because of that\n"


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "run", fail(KeyboardInterrupt()))
    assert main(["doctor"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_an_error_of_another_kind_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "run", fail(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        main(["doctor"])


def test_a_reader_that_leaves_is_no_traceback(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as pipe:
        done = subprocess.run(
            [*COMMAND, "doctor"], cwd=tmp_path, env=environment(), stdout=pipe, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("module", [pickles, frameworks], ids=["demo", "demo --full"])
def test_a_machine_without_the_pythons_is_told(
    module: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import isopod as library

    monkeypatch.setenv("ISOPOD_HOME", str(tmp_path))
    nowhere = library.Env(["nothing"], python="3.99")
    version_ = pickles.Version("a model", "trees", "trees", nowhere)
    monkeypatch.setattr(pickles, "versions", lambda: (version_, version_))
    monkeypatch.setattr(
        frameworks, "frameworks", lambda: [frameworks.Framework("a model", "net_tf1.py", "nothing", nowhere)]
    )
    code = main(["demo"] if module is pickles else ["demo", "--full"])
    said = capsys.readouterr()
    assert code == (2 if module is pickles else 1)
    assert "no Python that satisfies '3.99' was found" in (said.err if module is pickles else said.out)


@pytest.mark.slow
@pytest.mark.network
def test_ctrl_c_in_a_build_leaves_nothing(tmp_path: Path) -> None:
    """The census finds a child that is still there; the second half shows that the next run is not disturbed."""
    need_its_pythons()
    child = subprocess.Popen(
        [*COMMAND, "demo"], cwd=tmp_path, env=environment(ISOPOD_HOME=str(tmp_path / "home")), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    for line in child.stdout:
        if "resolving" in line or "resolved" in line:
            break
    child.send_signal(signal.SIGINT)
    out, err = child.communicate()
    assert child.returncode == 130
    assert "Traceback" not in err + out
    environments = tmp_path / "home" / "environments"
    assert [path.name for path in environments.glob(".staging-*")] == []
    done = isopod("doctor", "--json", cwd=tmp_path, ISOPOD_HOME=str(tmp_path / "home"))
    assert json.loads(done.stdout)["store"]["environments"] == 0
