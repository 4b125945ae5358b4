"""The contract of an installer, held by each: the same wishes give the same environment, whoever installs it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import uv
from packaging.version import Version

from isopod.ipc.errors import EnvironmentBuildError, SpecError
from isopod.runtime.environment import BuildEvent, Env, Interpreter, interpreters, prepare, upkeep
from isopod.runtime.environment.builder import freeze
from isopod.runtime.environment.installers import pip
from isopod.runtime.environment.store import Store

Name = Literal["uv", "pip"]
PROJECT = """\
[project]
name = "project"
version = "1"
requires-python = ">=3.10"
dependencies = ["needs-clash", "numpy"]
[tool.uv]
no-index = true
find-links = ["{index}"]
"""


@pytest.fixture(params=["uv", "pip"])
def installer(request: pytest.FixtureRequest) -> Name:
    name: Name = request.param
    return name


@pytest.fixture
def tool(make_wheel: Callable[..., Path], tmp_path: Path) -> Path:
    """A wheel with a program of its own."""
    entry = "[console_scripts]\nsay-prefix = tool:say\n"
    files = {"tool.py": "import sys\ndef say():\n    print(sys.prefix)\n", "tool-1.0.dist-info/entry_points.txt": entry}
    return make_wheel(tmp_path, "tool", "1.0", files)


def _env(index: Path, installer: Name, *requirements: str, **options: object) -> Env:
    return Env(requirements, find_links=[str(index)], no_index=True, installer=installer, **options)  # type: ignore[arg-type]


def test_what_was_asked_for_is_there_and_nothing_of_the_installer(machine: Path, index: Path, installer: Name) -> None:
    events: list[BuildEvent] = []
    prepared = prepare(_env(index, installer, "needs-clash", warm=["clash"]), on_event=events.append)
    assert freeze(prepared.site_dirs[0]) == ["clash==1.0", "needs-clash==1.0", "numpy==1.0"]
    meta = json.loads((prepared.prefix.parent / "meta.json").read_text())
    assert meta["installer"] == installer
    files = ["build.log", "meta.json", "venv", "warm.json"]
    assert sorted(path.name for path in prepared.prefix.parent.iterdir()) == files
    stages = list(dict.fromkeys(event.stage for event in events))
    assert [stage for stage in stages if stage != "download"] == ["resolve", "install", "warm", "done"]
    assert [(event.done, event.total) for event in events if event.stage == "install"][-1] == (3, 3)
    assert upkeep.verify(Store().get(prepared.key or ""), contents=True) == []  # type: ignore[arg-type]


def test_it_works_where_it_lies_and_where_it_is_moved_to(
    machine: Path, index: Path, tool: Path, installer: Name, tmp_path: Path
) -> None:
    prepared = prepare(_env(index, installer, str(tool)))
    assert upkeep.verify(Store().get(prepared.key or ""), contents=True) == []  # type: ignore[arg-type]
    for file in prepared.prefix.rglob("*"):
        if file.is_file() and not file.is_symlink() and file.suffix != ".pyc":  # import puts the path of those right
            assert b".staging" not in file.read_bytes(), file
    moved = tmp_path / "a shared store" / "venv"
    moved.parent.mkdir()
    for prefix in (prepared.prefix, moved):
        if prefix is moved:
            prepared.prefix.rename(moved)
        said = subprocess.run([prefix / "bin" / "say-prefix"], check=True, capture_output=True, text=True).stdout
        assert said.strip() == str(prefix)


def test_constraints_narrow_the_choice(machine: Path, index: Path, installer: Name, tmp_path: Path) -> None:
    assert "clash==1.0" in freeze(prepare(_env(index, installer, "clash", constraints=["clash<2"])).site_dirs[0])


def test_the_machines_own_configuration_holds(
    machine: Path, index: Path, installer: Name, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "constraints.txt").write_text("clash<2\n")
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nno-index = true\nfind-links = {index}\nconstraint = {tmp_path}/constraints.txt\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    assert "clash==1.0" in freeze(prepare(Env(["clash"], installer=installer)).site_dirs[0])


def test_uvs_variables_hold(machine: Path, index: Path, installer: Name, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_FIND_LINKS", str(index))
    assert "clash==2.0" in freeze(prepare(Env(["clash"], no_index=True, installer=installer)).site_dirs[0])


def test_a_lock_with_hashes(machine: Path, index: Path, installer: Name, tmp_path: Path) -> None:
    lock = _compiled(tmp_path, index, "locked.txt", "--generate-hashes")
    options: dict[str, object] = {"find_links": [str(index)], "no_index": True, "installer": installer}
    assert "clash==1.0" in freeze(prepare(Env(lock=lock, **options)).site_dirs[0])  # type: ignore[arg-type]
    lock.write_text(lock.read_text().replace("sha256:", "sha256:00")[:-2], encoding="utf-8")
    with pytest.raises(EnvironmentBuildError):
        prepare(Env(lock=lock, **options))  # type: ignore[arg-type]


def test_uvs_own_lock(machine: Path, index: Path, installer: Name, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(PROJECT.format(index=index), encoding="utf-8")
    command = ["env", "-u", "UV_NO_CONFIG", uv.find_uv_bin(), "lock"]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    prepared = prepare(Env(lock=tmp_path / "uv.lock", find_links=[str(index)], no_index=True, installer=installer))
    assert freeze(prepared.site_dirs[0]) == ["clash==1.0", "needs-clash==1.0", "numpy==1.0"]


def test_the_standard_lock(
    machine: Path, index: Path, installer: Name, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = _compiled(tmp_path, index, "pylock.toml", "--format", "pylock.toml")
    env = Env(lock=lock, find_links=[str(index)], no_index=True, installer=installer)
    if installer == "pip":
        monkeypatch.setattr(pip, "_of_this_process", lambda interpreter: [])  # the one of ensurepip is older
        if pip._newest(_this()).version < pip._PYLOCK:
            with pytest.raises(SpecError, match=r"needs pip 26\.1.*installer='uv'"):
                prepare(env)
            return
    assert "clash==1.0" in freeze(prepare(env).site_dirs[0])


def test_source_is_built_only_where_it_was_allowed(
    machine: Path,
    index: Path,
    tmp_path: Path,
    installer: Name,
    make_wheel: Callable[..., Path],
    write_sdist: Callable[..., None],
) -> None:
    write_sdist(tmp_path, make_wheel(tmp_path, "old", "1.0", {"old.py": ""}))
    both = [str(index), str(tmp_path)]
    with pytest.raises(EnvironmentBuildError, match=r"from_source=\['old'\]"):
        prepare(Env(["old"], find_links=both, no_index=True, installer=installer))
    prepared = prepare(Env(["old"], find_links=both, no_index=True, from_source=["Old"], installer=installer))
    assert "old==1.0" in freeze(prepared.site_dirs[0])


@pytest.mark.parametrize("requirements", [("needs-clash", "clash==2.0"), ("nowhere-to-be-found",), ("hates-numpy",)])
def test_a_failure_has_the_installers_own_words_and_leaves_nothing(
    machine: Path, index: Path, installer: Name, requirements: tuple[str, ...]
) -> None:
    with pytest.raises(EnvironmentBuildError) as failed:
        prepare(_env(index, installer, *requirements))
    text = str(failed.value)
    assert all(item in text for item in requirements)
    assert "'numpy' was added by isopod" in text
    assert ".staging" not in text
    assert [path.suffix for path in machine.iterdir()] == [".lock"]
    assert not prepare(_env(index, installer, "clash")).cached


def test_each_installer_has_environments_of_its_own(machine: Path, index: Path) -> None:
    keys = [prepare(_env(index, name, "clash")).key for name in ("uv", "pip")]
    assert len(set(keys)) == 2
    again = prepare(Env(["clash"], find_links=[str(index)], no_index=True))
    assert (again.cached, again.key) == (True, keys[0])


def test_pip_serves_where_there_is_no_uv(machine: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError("no program for this platform")

    monkeypatch.setattr(uv, "find_uv_bin", none)
    prepared = prepare(Env(["clash"], find_links=[str(index)], no_index=True))
    assert json.loads((prepared.prefix.parent / "meta.json").read_text())["installer"] == "pip"
    with pytest.raises(EnvironmentBuildError, match="uv, which builds environments, is not installed"):
        prepare(_env(index, "uv", "clash"))


def test_what_pip_cannot_do_is_refused(machine: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="pip has no overrides"):
        _env(index, "pip", "clash", overrides=["clash==1.0"])
    with pytest.raises(SpecError, match="installer='conda'"):
        _env(index, "conda", "clash")  # type: ignore[arg-type]
    monkeypatch.setattr(pip, "_UPLOADED_PRIOR_TO", Version("999"))
    with pytest.raises(SpecError, match=r"exclude_newer needs pip 999.*pip install -U pip"):
        prepare(_env(index, "pip", "clash", exclude_newer="2024-02-29"))
    monkeypatch.setenv("UV_OVERRIDE", "overrides.txt")
    with pytest.raises(SpecError, match="UV_OVERRIDE is set"):
        prepare(_env(index, "pip", "clash"))
    assert [path for path in machine.iterdir() if path.is_dir()] == []


def test_a_python_without_a_pip_is_told_how_to_get_one(
    machine: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_of_this_process", "_in_ensurepip"):
        monkeypatch.setattr(pip, name, lambda interpreter: [])
    with pytest.raises(EnvironmentBuildError, match=r"apt install python3\.\d+-venv"):
        prepare(_env(index, "pip", "clash"))


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.7", "3.8", "3.9", "3.10", "3.12", "3.13"])
def test_on_each_python(machine: Path, index: Path, tool: Path, installer: Name, version: str) -> None:
    try:
        prepared = prepare(_env(index, installer, "clash==1.0", str(tool), python=version))
    except SpecError as error:
        if "no Python that satisfies" in str(error):
            pytest.skip(str(error))
        raise
    assert freeze(prepared.site_dirs[0]) == ["clash==1.0", "numpy==1.0", "tool==1.0"]
    said = subprocess.run([prepared.prefix / "bin" / "say-prefix"], check=True, capture_output=True, text=True).stdout
    assert said.strip() == str(prepared.prefix)


def _this() -> Interpreter:
    return next(one for one in interpreters() if one.version == sys.version_info[:3])


def _compiled(folder: Path, index: Path, name: str, *options: str) -> Path:
    (folder / "wanted.in").write_text("needs-clash\nnumpy\n", encoding="utf-8")
    command = [uv.find_uv_bin(), "pip", "compile", "wanted.in", "--python", sys.executable, "--no-index"]
    command += ["-f", str(index), *options, "-o", name]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    return folder / name
