"""Finding interpreters: what a request means, what is run at all, which one wins, and what refusals say.

The machines here are folders of dummy files, and ``probe`` a table; the few tests at the end run real Pythons.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from isopod.ipc.errors import SpecError
from isopod.runtime.environment import Interpreter, find_interpreter, interpreter, interpreters
from isopod.runtime.environment.discovery import candidates
from isopod.runtime.environment.interpreter import OLDEST, probe
from isopod.runtime.environment.versions import PythonRequest


def _install(file: Path, content: bytes = b"\x7fELF") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    file.chmod(0o755)
    return file


class Machine:
    """A machine with pyenv's, uv's and conda's Pythons 3.9x. ``ran`` lists those that were run."""

    def __init__(self, root: Path) -> None:
        self.ran: list[str] = []
        self.versions: dict[Path, tuple[int, int, int]] = {}
        self.root = root
        self.add(root / "pyenv/versions/3.90.1/bin/python3.90", (3, 90, 1))
        self.add(root / "pyenv/versions/3.90.7/bin/python3.90", (3, 90, 7))
        self.add(root / "pyenv/versions/2.7.18/bin/python2.7", (2, 7, 18))
        self.add(root / "data/uv/python/cpython-3.92.0-linux-x86_64-gnu/bin/python3.92", (3, 92, 0))
        self.add(root / "path/python3.91", (3, 91, 4))
        (root / "path/python3").symlink_to("python3.91")
        _install(root / "shims/python3.93", b"#!/bin/sh\n")
        conda = root / "conda"
        self.add(conda / "bin/python3.94", (3, 94, 2))
        _install(conda / "conda-meta/python-3.94.2-h1234_0.json")
        _install(root / ".conda/environments.txt", f"{conda}\n".encode())

    def add(self, file: Path, version: tuple[int, int, int]) -> None:
        self.versions[_install(file)] = version

    def probe(self, path: Path) -> Interpreter:
        version = self.versions.get(path)
        if version is None or version < OLDEST:
            raise SpecError(f"{path} is not one of ours")
        self.ran.append(".".join(map(str, version)))
        return Interpreter(path, version, "cpython", "", "", path.parent.parent)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'shims'}:{tmp_path / 'path'}:{tmp_path / 'nowhere'}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for name in ("CONDA_PREFIX", "CONDA_EXE", "UV_PYTHON_INSTALL_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(interpreter, "probe", machine.probe)
    return machine


@pytest.mark.parametrize(
    ("request_", "version", "ran"),
    [
        ("3.90", (3, 90, 7), ["3.90.7"]),
        ("3.90.1", (3, 90, 1), ["3.90.1"]),
        (">=3.90,<3.92", (3, 91, 4), ["3.91.4"]),
        (">=3.90,<3.91", (3, 90, 7), ["3.90.7"]),
        ("==3.91.4", (3, 91, 4), ["3.91.4"]),
        (">3.90.1,!=3.94.*,!=3.92.0", (3, 91, 4), ["3.91.4"]),
        (">=3.90", (3, 94, 2), ["3.94.2"]),
        ("3.92", (3, 92, 0), ["3.92.0"]),
    ],
)
def test_the_newest_match_wins_and_only_it_is_run(
    fake: Machine, request_: str, version: tuple[int, int, int], ran: list[str]
) -> None:
    assert find_interpreter(request_).version == version
    assert fake.ran == ran


def test_two_digits_may_hide_any_patch_so_they_are_run_before_an_older_known_one(fake: Machine) -> None:
    fake.add(fake.root / "path/python3.90", (3, 90, 3))
    assert find_interpreter("3.90").version == (3, 90, 7)
    assert fake.ran == ["3.90.3", "3.90.7"]


def test_one_that_does_not_run_is_passed_over(fake: Machine) -> None:
    _install(fake.root / "pyenv/versions/3.90.9/bin/python3.90")
    assert find_interpreter("3.90").version == (3, 90, 7)


def test_links_are_one_candidate_and_scripts_none(fake: Machine) -> None:
    ours = [candidate.path for candidate in candidates() if fake.root in candidate.path.parents]
    assert len(ours) == len(set(ours)) == len(fake.versions)
    assert not any("shims" in path.parts for path in ours)


def test_a_missing_one_lists_what_is_there_and_how_to_get_it(fake: Machine) -> None:
    with pytest.raises(SpecError) as caught:
        find_interpreter("3.99")
    text = str(caught.value)
    assert "'3.99'" in text
    assert "3.90.7" in text
    assert str(fake.root / "path/python3.91") in text
    assert "uv python install 3.99" in text


@pytest.mark.parametrize("old", ["2.7", "3.6"])
def test_too_old_is_said_so(fake: Machine, old: str) -> None:
    with pytest.raises(SpecError, match=r"3\.7 and later"):
        find_interpreter(old)
    assert "2.7.18" not in fake.ran


def test_all_are_listed_newest_first(fake: Machine) -> None:
    ours = [item.version for item in interpreters()]
    assert ours == [(3, 94, 2), (3, 92, 0), (3, 91, 4), (3, 90, 7), (3, 90, 1)]


@pytest.mark.parametrize(
    ("text", "hint", "may"),
    [
        ("3.10", (3,), True),
        ("3.10", (3, 10), True),
        ("3.1", (3, 10), False),
        ("3.10.2", (3, 10), True),
        ("3.10.2", (3, 10, 3), False),
        (">=3.10.5,<3.11", (3, 10), True),
        (">=3.11", (3, 10), False),
        ("~=3.10.5", (3, 10, 4), False),
        (None, (3, 10), True),
    ],
)
def test_may_match(text: str | None, hint: tuple[int, ...], may: bool) -> None:
    assert PythonRequest.parse(text).may_match(hint) is may


# --- real Pythons -----------------------------------------------------------------------------------------------------


def test_this_process_is_preferred_and_its_base_is_meant() -> None:
    base = Path(sys.base_prefix).resolve()
    for wanted in (None, f"{sys.version_info[0]}.{sys.version_info[1]}", ">=3.7", sys.executable):
        found = find_interpreter(wanted)
        assert found.version == sys.version_info[:3]
        assert base in found.executable.parents
        assert not found.executable.is_symlink()


def test_an_answer_is_remembered_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrapper = _install(tmp_path / "python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'.encode())
    calls: list[object] = []
    real = subprocess.run

    def run(*args: Any, **options: Any) -> Any:
        calls.append(args)
        return real(*args, **options)

    monkeypatch.setattr(subprocess, "run", run)
    first = probe(wrapper)
    assert probe(wrapper) == first
    assert len(calls) == 1
    _install(wrapper, f'#!/bin/sh\n\nexec "{sys.executable}" "$@"\n'.encode())
    assert probe(wrapper) == first
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"#!/bin/sh\necho Unknown option: -I >&2; exit 2\n", "Python 2"),
        (b"#!/bin/sh\necho no such thing >&2; exit 127\n", "no such thing"),
        (b"#!/bin/sh\nexit 0\n", "not a Python interpreter"),
        (b"\x7fELF but not really", "not a Python interpreter"),
    ],
)
def test_a_file_that_is_no_python_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    file = _install(tmp_path / "python", content)
    with pytest.raises(SpecError, match=said) as caught:
        probe(file)
    assert str(file) in str(caught.value)


def test_one_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "_PROBE_SECONDS", 0.05)
    file = _install(tmp_path / "python", b"#!/bin/sh\nexec tail -f /dev/null\n")
    with pytest.raises(SpecError, match="did not answer"):
        probe(file)


def test_nothing_at_the_path() -> None:
    with pytest.raises(SpecError, match="/no/such/python"):
        find_interpreter("/no/such/python")


def test_a_real_old_python_is_refused() -> None:
    old = shutil.which("python3.6") or shutil.which("python2.7") or shutil.which("python2")
    if old is None:
        pytest.skip("no Python 2 or 3.6 on this machine")
    with pytest.raises(SpecError):
        probe(old)
