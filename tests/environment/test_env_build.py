"""Building and serving environments, without a network: what is installed, what is reused, and what a failure says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from isopod.ipc.errors import EnvironmentBuildError, IsopodError
from isopod.runtime.environment import BuildEvent, Env, Prepared, prepare
from isopod.runtime.environment.store import Store


def _env(index: Path, *requirements: str, warm: tuple[str, ...] = (), variables: dict[str, str] | None = None) -> Env:
    return Env(requirements, find_links=[str(index)], no_index=True, warm=warm, variables=variables or {})


def _as_a_worker(prepared: Prepared, code: str) -> str:
    """Run code as a worker would: base interpreter, no site, then the environment's folders."""
    script = f"import site; [site.addsitedir(f) for f in {[str(folder) for folder in prepared.site_dirs]!r}]\n{code}"
    command = [str(prepared.python), "-I", "-S", "-c", script]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd="/").stdout.strip()


def _left_over(store: Path) -> list[str]:
    return [path.name for path in store.iterdir() if path.name.startswith(".staging")]


def test_two_versions_side_by_side(machine: Path, index: Path) -> None:
    for version in ("1.0", "2.0"):
        prepared = prepare(_env(index, f"clash=={version}"))
        assert not prepared.cached
        assert prepared.key is not None
        assert prepared.prefix == machine / prepared.key / "venv"
        assert _as_a_worker(prepared, "import clash; print(clash.__version__)") == version
        command = [str(prepared.executable), "-I", "-c", "import clash; print(clash.__version__)"]
        assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() == version
    assert _left_over(machine) == []


def test_the_second_time_is_a_hit(machine: Path, index: Path) -> None:
    env = _env(index, "clash")
    first = prepare(env)
    events: list[BuildEvent] = []
    second = prepare(env, on_event=events.append)
    assert second.cached
    assert (second.key, second.prefix, second.site_dirs) == (first.key, first.prefix, first.site_dirs)
    assert [event.stage for event in events] == ["done"]


def test_the_facts_are_kept(machine: Path, index: Path) -> None:
    prepared = prepare(_env(index, "clash==1.0"))
    folder = prepared.prefix.parent
    meta = json.loads((folder / "meta.json").read_text())
    assert meta["freeze"] == ["clash==1.0", "numpy==1.0"]
    assert meta["python"] == str(prepared.python)
    log = (folder / "build.log").read_text()
    assert "Installed 2 packages" in log
    assert ".staging" not in log
    assert sorted(path.name for path in folder.iterdir()) == ["build.log", "meta.json", "venv"], "nothing was warmed"


def test_numpy_is_added_compiled_and_never_run(machine: Path, index: Path) -> None:
    prepared = prepare(_env(index))
    assert _as_a_worker(prepared, "import numpy; print(numpy.__version__)") == "1.0"
    assert list((prepared.site_dirs[0] / "numpy" / "__pycache__").glob("__init__.*.pyc"))


def test_warm_modules_leave_bytecode_whatever_the_caller_has_set(
    machine: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    cold = prepare(_env(index, "clash"))
    assert not list(cold.site_dirs[0].glob("__pycache__/clash.*.pyc"))
    warm = prepare(_env(index, "clash==2.0", warm=("clash",)))
    assert list(warm.site_dirs[0].glob("__pycache__/clash.*.pyc"))
    assert _as_a_worker(warm, "import clash; print(clash.__file__)") == str(warm.site_dirs[0] / "clash.py")


def test_events_tell_the_stages_in_order(machine: Path, index: Path) -> None:
    events: list[BuildEvent] = []
    prepare(_env(index, "clash", warm=("clash", "numpy")), on_event=events.append)
    stages = list(dict.fromkeys(event.stage for event in events))
    assert [stage for stage in stages if stage != "download"] == ["resolve", "install", "warm", "done"]
    assert [(event.done, event.total) for event in events if event.stage == "install"] == [(2, 2)]
    assert [(event.done, event.total) for event in events if event.stage == "warm"] == [(0, 2), (1, 2), (2, 2)]
    assert sorted(event.seconds for event in events) == [event.seconds for event in events]


def test_run_time_variables_share_one_environment(machine: Path, index: Path) -> None:
    first = prepare(_env(index, "clash", variables={"A": "1"}))
    second = prepare(_env(index, "clash", variables={"A": "2"}))
    assert (second.cached, second.key) == (True, first.key)
    assert second.variables == {"A": "2"}


def test_a_local_wheel_is_known_by_its_contents(machine: Path, make_wheel: Callable[..., Path], index: Path) -> None:
    folder = machine.parent.parent
    wheel = make_wheel(folder, "mine", "1.0", {"mine.py": "text = 'before'\n"})
    env = _env(index, str(wheel))
    first = prepare(env)
    assert _as_a_worker(first, "import mine; print(mine.text)") == "before"
    make_wheel(folder, "mine", "1.0", {"mine.py": "text = 'after it changed'\n"})
    second = prepare(env)
    assert second.key != first.key
    assert _as_a_worker(second, "import mine; print(mine.text)") == "after it changed"
    assert _as_a_worker(first, "import mine; print(mine.text)") == "before"


def test_order_and_spelling_of_requirements_do_not_matter(machine: Path, index: Path) -> None:
    assert not prepare(_env(index, "clash==1.0", "Needs_Clash")).cached
    assert prepare(_env(index, "needs-clash", "clash == 1.0")).cached


@pytest.mark.parametrize(
    ("requirements", "warm", "facts"),
    [
        (("needs-clash", "clash==2.0"), (), ["needs-clash", "clash==2.0", "unsatisfiable"]),
        (("nowhere-to-be-found",), (), ["nowhere-to-be-found", "not found"]),
        (("hates-numpy",), (), ["hates-numpy", "'numpy' was added by isopod"]),
        (("broken",), ("broken",), ["importing broken", "RuntimeError: broken on purpose"]),
        (("clash",), ("absent",), ["No module named 'absent'"]),
    ],
)
def test_a_failure_has_the_tools_own_words_and_leaves_nothing(
    machine: Path, index: Path, requirements: tuple[str, ...], warm: tuple[str, ...], facts: list[str]
) -> None:
    with pytest.raises(EnvironmentBuildError) as caught:
        prepare(_env(index, *requirements, warm=warm))
    text = str(caught.value)
    for fact in (*facts, "isopod" if not warm else "python", ".".join(map(str, sys.version_info[:3]))):
        assert fact in text
    assert ".staging" not in text
    assert [path.suffix for path in machine.iterdir()] == [".lock"]
    assert not prepare(_env(index, "clash")).cached


def test_a_password_reaches_nothing_that_is_kept(machine: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    secret = "https://me:hunter2@127.0.0.1:9"
    env = Env(["clash", f"mine @ {secret}/mine-1.0-py3-none-any.whl"], find_links=[str(index)], index_url=secret)
    with pytest.raises(EnvironmentBuildError) as caught:
        prepare(env)
    assert "127.0.0.1:9" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert all(b"hunter2" not in file.read_bytes() for file in machine.rglob("*") if file.is_file())


def test_what_is_not_whole_is_built_again(machine: Path, index: Path) -> None:
    env = _env(index, "clash")
    for damage in ("meta.json", "venv/bin/python"):
        prepared = prepare(env)
        (prepared.prefix.parent / damage).unlink()
        again = prepare(env)
        assert not again.cached
        assert again.key == prepared.key
        assert _as_a_worker(again, "import clash; print(clash.__version__)") == "2.0"
    assert _left_over(machine) == []


def test_it_follows_the_user_to_another_home(
    machine: Path, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ISOPOD_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert tmp_path / "xdg" / "isopod" / "environments" in prepare(_env(index)).prefix.parents
    store = Store(tmp_path / "mine")
    assert tmp_path / "mine" in prepare(_env(index), store=store).prefix.parents


def test_a_home_that_cannot_be_written_is_named(machine: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = machine.parent.parent / "a-file"
    file.write_text("")
    monkeypatch.setenv("ISOPOD_HOME", str(file / "below"))
    with pytest.raises(EnvironmentBuildError, match="a-file"):
        prepare(_env(index))


def test_pips_configuration_holds(machine: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", f"{index} {index / 'gone'}")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    prepared = prepare(Env(["clash==1.0"]))
    assert _as_a_worker(prepared, "import clash; print(clash.__version__)") == "1.0"
    assert "gone is left out" in (prepared.prefix.parent / "build.log").read_text()


def test_the_working_directory_has_no_say(
    machine: Path, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UV_NO_CONFIG")
    (tmp_path / "uv.toml").write_text("[pip]\nno-deps = true\nupgrade = 'not a switch'\n")
    (tmp_path / "clash.py").write_text("raise SystemExit('the wrong one')\n")
    monkeypatch.chdir(tmp_path)
    prepared = prepare(_env(index, "clash==1.0", warm=("clash",)))
    assert _as_a_worker(prepared, "import clash; print(clash.__version__)") == "1.0"


def test_a_listener_may_end_the_build(machine: Path, index: Path) -> None:
    def refuse(event: BuildEvent) -> None:
        raise KeyError(event.stage)

    with pytest.raises(KeyError, match="resolve"):
        prepare(_env(index, "clash"), on_event=refuse)
    assert _left_over(machine) == []
    assert not prepare(_env(index, "clash")).cached


def test_source_is_built_only_where_it_was_allowed(
    machine: Path, index: Path, tmp_path: Path, make_wheel: Callable[..., Path], write_sdist: Callable[..., None]
) -> None:
    write_sdist(tmp_path, make_wheel(tmp_path, "old", "1.0", {"old.py": ""}))
    both = [str(index), str(tmp_path)]
    with pytest.raises(EnvironmentBuildError, match=r"from_source=\['old'\]"):
        prepare(Env(["old"], find_links=both, no_index=True))
    prepared = prepare(Env(["old"], find_links=both, no_index=True, from_source=["Old"]))
    assert _as_a_worker(prepared, "import old; print(old.__name__)") == "old"


@pytest.mark.network
@pytest.mark.slow
def test_an_old_scikit_learn_and_a_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOPOD_HOME", str(tmp_path))
    try:
        old = prepare(Env(["scikit-learn==1.2.2", "numpy<2"], python="3.11", warm=["sklearn"]))
    except IsopodError as error:
        if "no Python that satisfies" in str(error):
            pytest.skip(str(error))
        raise
    new = prepare(Env(["scikit-learn>=1.5"], python="3.11"))
    assert _as_a_worker(old, "import sklearn, numpy; print(sklearn.__version__, numpy.__version__[0])") == "1.2.2 1"
    assert _as_a_worker(new, "import sklearn; print(sklearn.__version__ >= '1.5')") == "True"
    assert list(old.site_dirs[0].glob("sklearn/__pycache__/base.*.pyc"))


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.7", "3.8", "3.9", "3.10", "3.12", "3.13"])
def test_numpy_on_each_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setenv("ISOPOD_HOME", str(tmp_path))
    try:
        prepared = prepare(Env(python=version, warm=["numpy"]))
    except IsopodError as error:
        if "no Python that satisfies" in str(error):
            pytest.skip(str(error))
        raise
    assert _as_a_worker(prepared, "import sys; print('%d.%d' % sys.version_info[:2])") == version
    assert _as_a_worker(prepared, "import numpy; print(numpy.__file__)").startswith(os.fspath(prepared.prefix))
