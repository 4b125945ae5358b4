"""``isopod doctor``: its facts are those of the machine, for people and for programs."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path

import pytest
from demo.command import isopod

from isopod.cli import doctor
from isopod.cli.screen import Screen


def test_json_is_for_a_program(tmp_path: Path) -> None:
    store = tmp_path / "home" / "environments"
    (store / "0123abcd" / "venv" / "bin").mkdir(parents=True)
    (store / "0123abcd" / "venv" / "bin" / "python").symlink_to(sys.executable)
    facts = ("python", "version", "requirements", "lock", "sources", "freeze", "built", "seconds")
    (store / "0123abcd" / "meta.json").write_text(json.dumps({**dict.fromkeys(facts, ""), "key": "0123abcd"}))
    (store / ".staging-4567").mkdir()
    (store / "0123abcd" / "file").write_bytes(b"x" * 50_000)
    os.link(store / "0123abcd" / "file", store / "0123abcd" / "another-name")
    done = isopod("doctor", "--json", cwd=tmp_path, ISOPOD_HOME=str(tmp_path / "home"))
    report = json.loads(done.stdout)
    assert (done.returncode, done.stderr, report["healthy"]) == (0, "", True)
    names = {check["name"]: check for check in report["checks"]}
    assert names["Python"]["value"].startswith(platform.python_version())
    assert {"sealed shared memory", "semaphores", "process descriptors", "cores", "memory", "uv"} <= set(names)
    assert any(python["version"] == platform.python_version() for python in report["interpreters"])
    assert report["store"]["path"] == str(store)
    assert report["store"]["environments"] == 1
    assert 50_000 <= report["store"]["bytes"] < 100_000  # two names of one file are one file
    assert report["store"]["free_bytes"] > 0


def test_text_is_for_people(tmp_path: Path) -> None:
    done = isopod("doctor", cwd=tmp_path, ISOPOD_HOME=str(tmp_path / "not" / "there" / "yet"))
    assert done.returncode == 0
    assert "✓ semaphores" in done.stdout
    assert platform.python_version() in done.stdout
    assert f"path       {tmp_path / 'not' / 'there' / 'yet' / 'environments'}\n" in done.stdout
    assert "holds      0 environments, 0 MB" in done.stdout
    assert not (tmp_path / "not").exists(), "it only looks"


def test_what_is_missing_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def forbidden(*_: object) -> int:
        raise PermissionError("Operation not permitted")

    monkeypatch.setenv("ISOPOD_HOME", str(tmp_path))
    monkeypatch.setattr(os, "memfd_create", forbidden)
    assert doctor.run(Screen(), as_json=False) == 1
    assert "✗ sealed shared memory" in (text := capsys.readouterr().out)
    assert "Operation not permitted" in text
