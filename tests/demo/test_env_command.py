"""``isopod env``: what it does and says, for people and for programs."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest
from demo.command import isopod

from isopod.runtime.environment import Env, prepare

pytestmark = pytest.mark.network


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ISOPOD_HOME", str(tmp_path / "home"))
    return str(tmp_path / "home")


def test_from_build_to_removal(tmp_path: Path, home: str) -> None:
    def run(*words: str) -> tuple[int, str]:
        done = isopod("env", *words, cwd=tmp_path, ISOPOD_HOME=home)
        assert done.stderr == ""
        return done.returncode, done.stdout

    assert "no environments" in run("list")[1]
    code, text = run("build", "six", "--warm", "six")
    assert code == 0
    assert "✓ built: " in text
    found = json.loads(run("list", "--json")[1])
    assert [one["requirements"] for one in found] == [["six", "numpy"]]
    key = found[0]["key"]
    assert found[0]["bytes"] > 1_000_000
    again = json.loads(run("build", "six", "--warm", "six", "--json")[1])
    assert (again["key"], again["cached"]) == (key, True)
    assert "six, numpy" in run("list")[1]
    code, text = run("show", key[:6])
    assert f"key         {key}" in text
    assert "six==" in text
    assert re.search(r"built       \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\S+, in [\d.]+ s\n", text), text
    assert run("verify", "--contents")[1].startswith("✓")
    held = prepare(Env(["six"], warm=["six"]))
    assert held.key == key
    code, text = run("rm", key[:6])
    assert (code, "is in use, and stays" in text) == (1, True)
    assert "in use now" in run("list")[1]
    held.hold.release()  # type: ignore[union-attr]
    module = next(held.prefix.glob("lib/python*/site-packages/six.py"))
    module.unlink()  # the file may be a link into the resolver's cache
    module.write_text("")
    code, text = run("verify", "--contents")
    assert (code, "six: six.py is not what was installed" in text) == (1, True)
    assert "would remove" in run("gc", "--unused-for", "0", "--dry-run")[1]
    assert len(json.loads(run("gc", "--unused-for", "0", "--json")[1])["removed"]) == 1
    assert json.loads(run("list", "--json")[1]) == []
    assert json.loads(run("rm", "--all", "--json")[1]) == {"removed": [], "in_use": []}


def test_a_wrong_word_is_one_clear_line(tmp_path: Path, home: str) -> None:
    for words, said in (
        (("show", "0123"), "there is no environment '0123'"),
        (("rm",), "name the environments to remove, or say --all"),
        (("gc", "--unused-for", "-1"), "days cannot be negative"),
        (("python", "2.7"), "no Python that satisfies '2.7'"),
        (("build", "not a requirement"), "requirement 'not a requirement' cannot be read"),
    ):
        done = isopod("env", *words, cwd=tmp_path, ISOPOD_HOME=home)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("isopod: ")
        assert said in done.stderr
    assert not os.path.exists(home)


def test_the_pythons(tmp_path: Path, home: str) -> None:
    every = json.loads(isopod("env", "python", "--json", cwd=tmp_path, ISOPOD_HOME=home).stdout)
    here = os.path.realpath(sys.executable)
    assert here in [one["path"] for one in every]
    (one,) = json.loads(isopod("env", "python", every[0]["version"], "--json", cwd=tmp_path, ISOPOD_HOME=home).stdout)
    assert one["version"] == every[0]["version"]


def test_a_lock_holds_what_was_asked_and_numpy_with_hashes(tmp_path: Path, home: str) -> None:
    done = isopod("env", "lock", "six==1.16.0", cwd=tmp_path, ISOPOD_HOME=home)
    assert (done.returncode, done.stderr) == (0, "")
    assert isopod("env", "lock", "six==1.16.0", "-o", "pylock.toml", cwd=tmp_path, ISOPOD_HOME=home).stdout == ""
    assert (tmp_path / "pylock.toml").read_text() == done.stdout
    assert 'lock-version = "1.0"' in done.stdout
    assert 'name = "numpy"' in done.stdout
    assert 'version = "1.16.0"' in done.stdout
    assert "sha256" in done.stdout
    refused = isopod("env", "lock", "six==0.0.1.dev7", cwd=tmp_path, ISOPOD_HOME=home)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "there is no version of six==0.0.1.dev7" in refused.stderr
    assert "'numpy' was added by isopod" in refused.stderr
    nowhere = isopod("env", "lock", "six", "-o", "not/there/lock.toml", cwd=tmp_path, ISOPOD_HOME=home)
    assert (nowhere.returncode, "cannot be written" in nowhere.stderr) == (2, True)
    assert not os.path.exists(home)  # nothing was built


def test_files_say_what_is_wanted(tmp_path: Path, home: str) -> None:
    """A lock that is built gives the locked versions; a requirement file and a script are read, too."""

    def run(*words: str) -> str:
        done = isopod("env", *words, cwd=tmp_path, ISOPOD_HOME=home)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    (tmp_path / "wanted.txt").write_text("six\n")
    run("lock", "-r", "wanted.txt", "--constraint", "six<1.17", "--exclude-newer", "2024-12-01", "-o", "pylock.toml")
    key = json.loads(run("build", "--lock", "pylock.toml", "--json"))["key"]
    assert "six==1.16.0" in json.loads(run("show", key, "--json"))["freeze"]
    assert "lock: pylock sha256=" in run("list")
    assert "lock: pylock sha256=" in run("show", key)
    (tmp_path / "model.py").write_text('# /// script\n# dependencies = ["six==1.16.0"]\n# ///\n')
    key = json.loads(run("build", "--script", "model.py", "--json"))["key"]
    assert json.loads(run("show", key, "--json"))["requirements"] == ["six==1.16.0", "numpy"]
    both = isopod("env", "build", "--lock", "a", "--script", "b", cwd=tmp_path, ISOPOD_HOME=home)
    assert (both.returncode, "not allowed with" in both.stderr) == (2, True)
    again = isopod("env", "lock", "--lock", "pylock.toml", cwd=tmp_path, ISOPOD_HOME=home)
    assert (again.returncode, "has its versions already" in again.stderr) == (2, True)


def test_an_environment_of_the_projects_file(tmp_path: Path, home: str) -> None:
    below = tmp_path / "src"
    below.mkdir()

    def run(*words: str) -> str:
        done = isopod("env", *words, cwd=below, ISOPOD_HOME=home)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    (tmp_path / "isopod.toml").write_text(
        '[environments.old]\nrequirements = ["six==1.16.0"]\nwarm = ["six"]\n[environments.other]\nexisting = "venv"\n'
    )
    built = json.loads(run("build", "--from", "old", "--json"))
    assert json.loads((Path(built["prefix"]).parent / "warm.json").read_text()) == ["six"]
    again = json.loads(run("build", "--from", "old", "--warm", "json", "--json"))
    assert (again["key"], again["cached"]) == (built["key"], True)
    assert json.loads((Path(built["prefix"]).parent / "warm.json").read_text()) == ["json", "six"]
    assert 'version = "1.16.0"' in run("lock", "--from", "old")
    listed = json.loads(run("list", "--project", "--json"))
    assert listed["file"] == str(tmp_path / "isopod.toml")
    assert listed["environments"]["old"] == "Env(['six==1.16.0'], warm=['six'])"
    assert re.search(r"old +Env\(\['six==1\.16\.0'\]", run("list", "--project"))
    wrong = isopod("env", "build", "--from", "odl", cwd=below, ISOPOD_HOME=home)
    assert (wrong.returncode, "did you mean 'old'" in wrong.stderr) == (2, True)
    nowhere = isopod("env", "list", "--project", cwd=Path("/proc"), ISOPOD_HOME=home)
    assert (nowhere.returncode, "no isopod.toml" in nowhere.stderr) == (2, True)
