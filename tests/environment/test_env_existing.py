"""Existing environments: every kind is understood, the broken ones are named, and nothing in them is touched."""

from __future__ import annotations

import shutil
import site
import sys
import venv
from pathlib import Path

import pytest

from isopod.ipc.errors import SpecError
from isopod.runtime.environment import Env, prepare

MINOR = f"python{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    venv.create(folder, symlinks=True, with_pip=False)
    return folder


def _tree(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


def test_a_venv_by_its_folder_or_its_interpreter(made: Path) -> None:
    before = _tree(made)
    for path in (made, made / "bin" / "python", made / "bin" / "python3"):
        found = prepare(Env.existing(path, variables={"A": "1"}))
        assert found.prefix == made
        assert found.executable == made / "bin" / "python"
        assert found.site_dirs == (made / "lib" / MINOR / "site-packages",)
        assert found.version == sys.version_info[:3]
        assert Path(sys.base_prefix).resolve() in found.python.parents
        assert found.variables == {"A": "1"}
        assert (found.key, found.cached) == (None, True)
    assert _tree(made) == before


def test_a_venv_made_by_copying(tmp_path: Path) -> None:
    folder = tmp_path / "copied"
    venv.create(folder, symlinks=False, with_pip=False)
    found = prepare(Env.existing(folder))
    assert folder not in found.python.parents
    assert found.version == sys.version_info[:3]


def test_the_system_site_packages_are_added_where_the_venv_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    venv.create(folder, symlinks=True, system_site_packages=True, with_pip=False)
    found = prepare(Env.existing(folder))
    assert found.site_dirs[0] == folder / "lib" / MINOR / "site-packages"
    assert set(prepare(Env.existing(found.python)).site_dirs) == set(found.site_dirs[1:])


def test_a_base_interpreter_says_where_its_packages_are(made: Path) -> None:
    base = prepare(Env.existing(made)).python
    found = prepare(Env.existing(base))
    assert found.python == found.executable == base
    assert found.site_dirs
    assert all(folder.is_dir() for folder in found.site_dirs)
    assert prepare(Env.existing(found.prefix)) == found


def test_debians_own_folders_are_found() -> None:
    if not Path("/usr/lib/python3/dist-packages").is_dir() or not Path("/usr/bin/python3").exists():
        pytest.skip("no Debian Python on this machine")
    assert Path("/usr/lib/python3/dist-packages") in prepare(Env.existing("/usr/bin/python3")).site_dirs


def test_the_current_one() -> None:
    found = prepare(Env.current())
    assert found.prefix == Path(sys.prefix)
    assert found.version == sys.version_info[:3]
    assert any(Path(folder) in found.site_dirs for folder in site.getsitepackages())


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="nowhere"):
        prepare(Env.existing(tmp_path / "nowhere"))
    with pytest.raises(SpecError, match="neither"):
        prepare(Env.existing(tmp_path))


def test_a_venv_whose_base_is_gone(made: Path) -> None:
    gone = made.parent / "gone"
    (made / "pyvenv.cfg").write_text(f"home = {gone}\nversion = 3.11.1\n", encoding="utf-8")
    for link in (made / "bin").glob("python*"):
        link.unlink()
        link.symlink_to(gone / "python3")
    for path in (made, made / "bin" / "python"):
        with pytest.raises(SpecError, match="gone"):
            prepare(Env.existing(path))


def test_a_venv_whose_base_has_another_version_now(made: Path) -> None:
    shutil.move(made / "lib" / MINOR, made / "lib" / "python3.1")
    with pytest.raises(SpecError, match=r"python3\.1\b"):
        prepare(Env.existing(made))
