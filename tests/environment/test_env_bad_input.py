"""What users and machines get wrong, with each installer: it is told, nothing is kept, and the next build works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from package_index import IndexServer, index_server

import isopod
from isopod.ipc.errors import EnvironmentBuildError, SpecError
from isopod.runtime.environment import BuildEvent, Env, Interpreter, interpreters, prepare, upkeep
from isopod.runtime.environment.builder import freeze
from isopod.runtime.environment.store import Store

Name = Literal["uv", "pip"]
DOUBLE = "class Double:\n    def __call__(self, x):\n        return {'y': x * 2}\n"


@pytest.fixture(params=["uv", "pip"])
def installer(request: pytest.FixtureRequest) -> Name:
    name: Name = request.param
    return name


@pytest.fixture
def served(index: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[IndexServer]:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with index_server(index) as server:
        yield server


def _kept(store: Path) -> list[Path]:
    return [path for path in store.iterdir() if path.is_dir()] if store.exists() else []


@pytest.mark.parametrize("place", ["path", "index"])
def test_a_wheel_for_another_python(
    machine: Path, index: Path, make_wheel: Callable[..., Path], tmp_path: Path, installer: Name, place: str
) -> None:
    wheel = make_wheel(tmp_path, "elsewhere", "1.0", {"elsewhere.py": ""})
    other = wheel.rename(tmp_path / "elsewhere-1.0-cp27-cp27mu-win32.whl")
    wanted = str(other) if place == "path" else "elsewhere"
    links = [str(index)] if place == "path" else [str(index), str(tmp_path)]
    with pytest.raises(EnvironmentBuildError) as refused:
        prepare(Env([wanted], find_links=links, no_index=True, installer=installer))
    text = str(refused.value)
    assert "elsewhere" in text
    assert f"on {_this()}" in text, "for which Python it was wanted"
    if place == "path":
        assert "cp27" in text
    assert _kept(machine) == []
    assert not prepare(Env(["clash"], find_links=[str(index)], no_index=True, installer=installer)).cached


def test_an_index_that_is_not_there(
    machine: Path, index: Path, installer: Name, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(EnvironmentBuildError) as refused:
        prepare(Env(["clash"], index_url="http://me:hunter2@127.0.0.1:9/simple", installer=installer))
    assert "127.0.0.1:9" in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert _kept(machine) == []
    with pytest.raises(SpecError, match="there is no"):
        prepare(Env(["clash"], find_links=[str(index / "gone")], installer=installer))


def test_two_specs_that_differ_by_order_and_case_are_one(machine: Path, index: Path, installer: Name) -> None:
    options: dict[str, object] = {"find_links": [str(index)], "no_index": True, "installer": installer}
    first = prepare(Env(["clash == 1.0", "Needs_Clash"], constraints=["numpy<2", "clash<2"], **options))  # type: ignore[arg-type]
    second = prepare(Env(["needs-clash", "CLASH==1.0"], constraints=["clash<2", "NumPy<2"], **options))  # type: ignore[arg-type]
    assert (second.cached, second.key) == (True, first.key)


@pytest.mark.parametrize("by", ["Env", "pip.conf", "UV_INDEX_URL"])
def test_a_password_works_and_is_kept_nowhere(
    machine: Path, served: IndexServer, installer: Name, by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.answer.set()
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "pip"))
    events: list[BuildEvent] = []
    env = Env(["clash==1.0"], installer=installer, index_url=served.url if by == "Env" else None)
    if by == "pip.conf":
        (tmp_path / "pip.conf").write_text(f"[global]\nindex-url = {served.url}\n")
        monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
        for name in ("XDG_CONFIG_DIRS", "XDG_CONFIG_HOME", "HOME"):  # the machine's own files count beside it
            monkeypatch.setenv(name, str(tmp_path))
    if by == "UV_INDEX_URL":
        monkeypatch.setenv("UV_INDEX_URL", served.url)
    prepared = prepare(env, on_event=events.append)
    assert served.served >= 2, "it came from the index, with the password"
    assert freeze(prepared.site_dirs[0]) == ["clash==1.0", "numpy==1.0"]
    with pytest.raises(EnvironmentBuildError) as failed:
        prepare(Env(["clash==9.9"], installer=installer, index_url=served.url), on_event=events.append)
    files = [file for file in machine.parent.rglob("*") if file.is_file()]
    assert len(files) > 5
    assert [file for file in files if served.secret.encode() in file.read_bytes()] == []
    assert served.secret not in f"{failed.value} {events} {env} {prepared}"
    monkeypatch.setenv("UV_INDEX_URL", served.url.replace(served.secret, "another"))
    if by == "UV_INDEX_URL":
        assert prepare(env).key == prepared.key, "the password is no part of the key"


def test_one_build_stalls_neither_another_nor_a_running_model(
    machine: Path, index: Path, served: IndexServer, installer: Name, tmp_path: Path
) -> None:
    (tmp_path / "double.py").write_text(DOUBLE)
    model = isopod.load(f"{tmp_path}/double.py:Double", env=isopod.Env.current())
    with model, ThreadPoolExecutor(1) as pool:
        held = pool.submit(prepare, Env(["clash==1.0"], index_url=served.url, installer=installer))
        assert served.asked.wait(60)
        # from here on that build waits for its index, which answers when all of this is done
        assert model(x=np.ones(3))["y"].tolist() == [2.0, 2.0, 2.0]
        other = prepare(Env(["clash==2.0"], find_links=[str(index)], no_index=True, installer=installer))
        assert not other.cached
        with isopod.load(f"{tmp_path}/double.py:Double", env=isopod.Env.current()) as second:
            assert second(x=np.ones(1))["y"].tolist() == [2.0]
        assert not held.done()
        served.answer.set()
        assert not held.result(60).cached


@pytest.mark.parametrize("damage", ["meta.json", "the link", "the interpreter", "a file"])
def test_an_environment_that_is_not_as_it_was(
    machine: Path, index: Path, installer: Name, damage: str, tmp_path: Path
) -> None:
    python = _copy(tmp_path / "python") if damage == "the interpreter" else None
    env = Env(["clash==1.0"], find_links=[str(index)], no_index=True, installer=installer, python=python)
    prepared = prepare(env)
    one = Store().get(prepared.key or "")
    assert one is not None
    assert upkeep.verify(one, contents=True) == []
    if damage == "meta.json":
        (one.folder / "meta.json").write_text("{")
    elif damage == "the link":
        prepared.executable.unlink()
    elif damage == "the interpreter":
        Path(python or "").unlink()
        with pytest.raises(SpecError, match="there is no Python interpreter"):
            prepare(env)
        assert Store().get(prepared.key or "") is None, "what lost its interpreter is not served"
        _copy(tmp_path / "python")
        again = prepare(env)
        assert freeze(again.site_dirs[0]) == ["clash==1.0", "numpy==1.0"]
        return
    else:
        file = prepared.site_dirs[0] / "clash.py"
        file.unlink()  # never written to in place: it may be a link into a cache
        file.write_text("__version__ = 'forged'\n")
        assert upkeep.verify(one, contents=True) == ["clash: clash.py is not what was installed"]
        assert prepared.hold is not None
        prepared.hold.release()  # who uses it keeps it
        assert upkeep.remove(Store(), one) is not None
    again = prepare(env)
    assert (again.cached, again.key) == (False, prepared.key)
    assert freeze(again.site_dirs[0]) == ["clash==1.0", "numpy==1.0"]


_PARTS = 6  # so that one test takes every sixth moment, and seconds
# Builds one environment, and kills itself, without a word, at the n-th step of a kind: any call by which the store or
# the installers change the disk or run a program. Prints how many steps there were if it lives.
_DIES = """\
import os, signal, sys
from isopod.runtime.environment import Env, prepare
index, installer, moment = sys.argv[1], sys.argv[2], int(sys.argv[3])
steps = 0
def count(event, arguments):
    global steps
    if event in ("os.rename", "os.mkdir", "subprocess.Popen", "os.utime") or (
        event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    ):
        steps += 1
        if steps == moment:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
prepare(Env(["clash==1.0"], find_links=[index], no_index=True, installer=installer))
print(steps)
"""


def _build_until(index: Path, installer: Name, moment: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _DIES, str(index), installer, str(moment)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(1, _PARTS + 1))
def test_killed_before_each_of_its_steps_a_build_is_never_half_served(
    machine: Path, index: Path, installer: Name, part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = part - _PARTS
    while True:
        moment += _PARTS
        monkeypatch.setenv("ISOPOD_HOME", str(tmp_path / f"home-{moment}"))
        ended = _build_until(index, installer, moment)
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        # whatever is served now is whole: either nothing was, and this builds, or all of it was
        prepared = prepare(Env(["clash==1.0"], find_links=[str(index)], no_index=True, installer=installer))
        one = Store().get(prepared.key or "")
        assert one is not None
        assert upkeep.verify(one, contents=True) == []
        assert [path.name for path in Store().root.iterdir() if path.name.startswith(".staging")] == []
    assert int(ended.stdout) < moment, "it lives on only where there is no such step any more"
    assert int(ended.stdout) >= 8, "mkdir, lock, staging, log, inputs, programs, meta.json, rename, use"


def _this() -> Interpreter:
    return next(one for one in interpreters() if str(one.executable) == os.path.realpath(sys.executable))


def _copy(folder: Path) -> str:
    """An interpreter that can be removed: its files are links to those of this process's own."""
    this = _this()
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    target = folder / "bin" / f"python{this.minor}"
    target.write_bytes(this.executable.read_bytes())
    target.chmod(0o755)
    for name in ("lib", "include"):
        if not (folder / name).exists():
            (folder / name).symlink_to(this.prefix / name)
    return str(target)
