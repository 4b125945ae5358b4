"""Lock files of each kind, made by uv itself and installed without a network: just what they say, or nothing."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import uv

from isopod.ipc.errors import EnvironmentBuildError, SpecError
from isopod.runtime.environment import Env, interpreters, prepare
from isopod.runtime.environment.builder import freeze

MINOR = f"{sys.version_info[0]}.{sys.version_info[1]}"
PACKAGES = ["clash==1.0", "needs-clash==1.0", "numpy==1.0"]
PROJECT = """\
[project]
name = "project"
version = "1"
requires-python = ">=3.10"
dependencies = ["needs-clash", "numpy"]
[dependency-groups]
dev = ["broken"]
[tool.uv]
no-index = true
find-links = ["{index}"]
"""


def _uv(folder: Path, *words: str) -> None:
    subprocess.run([uv.find_uv_bin(), *words], check=True, capture_output=True, cwd=folder)


def _compiled(folder: Path, index: Path, name: str, *options: str, wanted: str = "needs-clash\nnumpy\n") -> Path:
    (folder / "wanted.in").write_text(wanted, encoding="utf-8")
    command = ["pip", "compile", "wanted.in", "--python", sys.executable, "--no-index", "-f", str(index)]
    _uv(folder, *command, *options, "-o", name)
    return folder / name


def _pylock(folder: Path, index: Path) -> Path:
    return _compiled(folder, index, "pylock.gpu.toml", "--format", "pylock.toml")


def _hashes(folder: Path, index: Path) -> Path:
    return _compiled(folder, index, "locked.txt", "--generate-hashes")


def _uv_lock(folder: Path, index: Path) -> Path:
    (folder / "pyproject.toml").write_text(PROJECT.format(index=index), encoding="utf-8")
    _lock(folder)
    return folder / "uv.lock"


def _lock(project: Path) -> None:
    """Its own settings count in a project, and there alone."""
    subprocess.run(
        ["env", "-u", "UV_NO_CONFIG", uv.find_uv_bin(), "lock"], check=True, capture_output=True, cwd=project
    )


MAKERS = pytest.mark.parametrize("make", [_pylock, _hashes, _uv_lock])


def _env(lock: Path, index: Path) -> Env:
    return Env(lock=lock, find_links=[str(index)], no_index=True)


@MAKERS
def test_a_lock_is_installed_as_it_stands(
    machine: Path, index: Path, tmp_path: Path, make: Callable[[Path, Path], Path]
) -> None:
    lock = make(tmp_path, index)
    prepared = prepare(_env(lock, index))
    assert freeze(prepared.site_dirs[0]) == PACKAGES, "clash 2.0 is there, but not in the lock"
    assert sorted(path.name for path in prepared.prefix.parent.iterdir()) == ["build.log", "meta.json", "venv"]
    again = prepare(_env(lock, index))
    assert (again.cached, again.key) == (True, prepared.key)


@MAKERS
def test_the_key_is_made_of_its_contents_wherever_it_lies(
    machine: Path, index: Path, tmp_path: Path, make: Callable[[Path, Path], Path]
) -> None:
    lock = make(tmp_path, index)
    first = prepare(_env(lock, index))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for file in (lock, tmp_path / "pyproject.toml"):
        if file.exists():
            (elsewhere / file.name).write_bytes(file.read_bytes())
    assert prepare(_env(elsewhere / lock.name, index)).key == first.key
    with lock.open("a", encoding="utf-8") as stream:
        stream.write("# another word\n")
    changed = prepare(_env(lock, index))
    assert changed.key != first.key
    assert not changed.cached


@pytest.mark.parametrize("make", [_pylock, _hashes])
def test_a_package_that_is_another_one_than_was_locked_is_refused(
    machine: Path,
    index: Path,
    tmp_path: Path,
    make_wheel: Callable[..., Path],
    make: Callable[[Path, Path], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name, requires in (("numpy", []), ("clash", []), ("needs-clash", ["clash==1.0"])):
        make_wheel(wheels, name, "1.0", {f"{name.replace('-', '_')}/__init__.py": ""}, requires)
    lock = make(tmp_path, wheels)
    make_wheel(wheels, "clash", "1.0", {"clash.py": "changed = True\n"})
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty"))  # the other one still has what was locked
    with pytest.raises(EnvironmentBuildError, match=r"(?i)hash mismatch") as caught:
        prepare(_env(lock, wheels))
    assert f"wanted: the lock {lock}" in str(caught.value)
    assert "added by isopod" not in str(caught.value)
    assert [path.suffix for path in machine.iterdir()] == [".lock"]
    lock.unlink()  # else uv keeps what is in it
    assert not prepare(_env(make(tmp_path, index), index)).cached


def test_what_a_lock_leaves_out_is_not_resolved_anew(machine: Path, index: Path, tmp_path: Path) -> None:
    lock = _hashes(tmp_path, index)
    text = lock.read_text(encoding="utf-8")
    lock.write_text(text[text.index("needs-clash==") :], encoding="utf-8")
    with pytest.raises(EnvironmentBuildError, match="clash"):
        prepare(_env(lock, index))


@MAKERS
def test_settings_that_would_change_a_lock_do_not_reach_it(
    machine: Path,
    index: Path,
    tmp_path: Path,
    make: Callable[[Path, Path], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lock = make(tmp_path, index)
    key = prepare(_env(lock, index)).key
    bounds = tmp_path / "bounds.txt"
    bounds.write_text("clash==2.0\n", encoding="utf-8")
    for name in ("UV_CONSTRAINT", "UV_OVERRIDE", "PIP_CONSTRAINT"):
        monkeypatch.setenv(name, str(bounds))
    monkeypatch.setenv("UV_EXCLUDE_NEWER", "2001-01-01")
    monkeypatch.setenv("UV_LOCKED", "1")
    monkeypatch.setenv("UV_NO_VERIFY_HASHES", "1")
    assert prepare(_env(lock, index)).key == key
    with lock.open("a", encoding="utf-8") as stream:
        stream.write("# another word\n")
    assert freeze(prepare(_env(lock, index)).site_dirs[0]) == PACKAGES


@pytest.mark.parametrize(("name", "options"), [("pylock.toml", ["--format", "pylock.toml"]), ("locked.txt", [])])
def test_a_lock_without_numpy_is_refused_at_once(
    machine: Path, index: Path, tmp_path: Path, name: str, options: list[str]
) -> None:
    lock = _compiled(tmp_path, index, name, "--generate-hashes", *options, wanted="clash\n")
    with pytest.raises(SpecError, match="add numpy to what is locked") as caught:
        Env(lock=lock)
    assert str(lock) in str(caught.value)


@pytest.mark.parametrize("moved", ["marker", "group"])
def test_numpy_that_does_not_apply_here_fails_the_build(machine: Path, index: Path, tmp_path: Path, moved: str) -> None:
    lock = _uv_lock(tmp_path, index)
    project = tmp_path / "pyproject.toml"
    text = project.read_text(encoding="utf-8")
    if moved == "marker":
        text = text.replace('"numpy"]', "\"numpy; sys_platform == 'win32'\"]")
    else:
        text = text.replace(', "numpy"]', "]").replace('"broken"', '"numpy"')
    project.write_text(text, encoding="utf-8")
    _lock(tmp_path)
    with pytest.raises(EnvironmentBuildError, match="does not bring numpy"):
        prepare(_env(lock, index))
    assert [path.suffix for path in machine.iterdir()] == [".lock"]


@pytest.mark.parametrize("folder", [False, True])
def test_a_project_with_packages_of_its_own(
    machine: Path,
    index: Path,
    tmp_path: Path,
    make_wheel: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    folder: bool,
) -> None:
    """A wheel of the project's is found, though it is named by a relative path; a folder is refused."""
    deep = tmp_path / "far" / "away"
    deep.mkdir(parents=True)
    (tmp_path / "link").symlink_to(deep)
    monkeypatch.setenv("ISOPOD_HOME", str(tmp_path / "link" / "home"))
    project = tmp_path / "project"
    (project / "mine").mkdir(parents=True)
    wheel = make_wheel(project, "mine", "1.0", {"mine.py": ""})
    (project / "mine" / "pyproject.toml").write_text("[project]\nname = 'mine'\nversion = '1.0'\n", encoding="utf-8")
    text = PROJECT.format(index=index).replace('"needs-clash"', '"mine"')
    text += f"[tool.uv.sources]\nmine = {{path = '{'mine' if folder else wheel.name}'}}\n"
    (project / "pyproject.toml").write_text(text, encoding="utf-8")
    _lock(project)
    env = _env(project / "uv.lock", index)
    if folder:
        with pytest.raises(SpecError, match="mine would be installed from a folder"):
            prepare(env)
    else:
        assert freeze(prepare(env).site_dirs[0]) == ["mine==1.0", "numpy==1.0"]


def test_a_lock_chooses_the_python_it_was_made_for(machine: Path, index: Path, tmp_path: Path) -> None:
    lock = _pylock(tmp_path, index)
    text = lock.read_text(encoding="utf-8")
    others = [item for item in interpreters() if item.minor != MINOR and item.version >= (3, 8)]
    if not others:
        pytest.skip("there is no other Python on this machine")
    line = next(line for line in text.splitlines() if line.startswith("requires-python"))
    lock.write_text(text.replace(line, f'requires-python = "=={others[0].minor}.*"'), encoding="utf-8")
    assert prepare(_env(lock, index)).version[:2] == others[0].version[:2]
    with pytest.raises(EnvironmentBuildError, match="incompatible"):
        prepare(dataclasses.replace(_env(lock, index), python=MINOR))
    lock.write_text(text.replace(line, "requires-python = 'three'"), encoding="utf-8")
    with pytest.raises(SpecError, match=r"pylock\.gpu\.toml.*requires-python.*three"):
        prepare(dataclasses.replace(Env(python=MINOR), lock=lock))


def test_a_lock_that_changes_under_the_build_is_not_kept(machine: Path, index: Path, tmp_path: Path) -> None:
    lock = _pylock(tmp_path, index)

    def change(event: object) -> None:
        lock.write_text(lock.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")

    with pytest.raises(EnvironmentBuildError, match="changed while it was installed"):
        prepare(_env(lock, index), on_event=change)
    assert not prepare(_env(lock, index)).cached


@pytest.mark.parametrize(
    ("name", "text", "facts"),
    [
        ("gone.txt", None, ["there is no file"]),
        ("poetry.lock", "", ["poetry.lock", "pylock.toml", "uv.lock"]),
        ("uv.lock", "version = 1\n", ["pyproject.toml beside it"]),
        ("pylock.toml", "lock-version = \n", ["pylock.toml:1", "not TOML"]),
        ("pylock.toml", "packages = 1\n", ["packages is not a list of tables"]),
        ("locked.txt", "numpy==1.0\n", ["locked.txt:1", "--generate-hashes", "Env.from_file"]),
        ("locked.txt", "-r other.txt\n", ["locked.txt:1", "one file"]),
        ("locked.txt", "--require-hashes\n--constraint=other.txt\n", ["locked.txt:2", "one file"]),
        ("pylock.toml", "[[packages]]\nname = 'mine'\ndirectory = {path = '.'}\n", ["mine", "uv build --wheel"]),
        ("locked.txt", "./folder --hash=sha256:00\n", ["locked.txt:1"]),
    ],
)
def test_what_is_no_lock_is_named(tmp_path: Path, name: str, text: str | None, facts: list[str]) -> None:
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        Env(lock=tmp_path / name)
    for fact in facts:
        assert fact in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"requirements": ["clash"]},
        {"constraints": ["clash"]},
        {"overrides": ["clash"]},
        {"exclude_newer": "2024-01-01"},
    ],
)
def test_nothing_is_added_to_a_lock(machine: Path, index: Path, tmp_path: Path, options: dict[str, object]) -> None:
    lock = _pylock(tmp_path, index)
    with pytest.raises(SpecError, match="put it into what is locked") as caught:
        Env(lock=lock, **options)  # type: ignore[arg-type]
    assert next(iter(options)) in str(caught.value)


def test_a_lock_as_a_value(machine: Path, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = _pylock(tmp_path, index)
    monkeypatch.chdir(tmp_path)
    env = Env(lock=lock.name, allow_source=True)
    assert env.lock == str(lock)
    assert repr(env) == f"Env(lock={str(lock)!r}, allow_source=True)"
    assert dataclasses.replace(env, allow_source=False) == Env(lock=lock)
