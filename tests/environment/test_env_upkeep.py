"""A store is looked after: nothing that is in use goes, what goes is gone whole, and what was changed is found."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import census
import pytest
from waits import GUARD, until

import isopod
from isopod import SpecError
from isopod.runtime.environment import Env, prepare, upkeep
from isopod.runtime.environment.hold import alone, hold
from isopod.runtime.environment.store import META, Store, published

_LONG_AGO = 1_000_000_000  # seconds since the epoch
_HOLD = """\
import sys
from isopod.runtime.environment import Env, prepare
built = prepare(Env(["clash"], find_links=[sys.argv[1]], no_index=True))
print(built.key, flush=True)
sys.stdin.readline()
"""


def env(index: Path, *requirements: str) -> Env:
    return Env(requirements or ("clash",), find_links=[str(index)], no_index=True)


def built(index: Path, *requirements: str) -> str:
    """The key of an environment that is there, and that nobody holds."""
    key = prepare(env(index, *requirements)).key
    assert key is not None
    return key


def age(store: Store, key: str) -> None:
    os.utime(store.folder(key) / META, (_LONG_AGO, _LONG_AGO))


def test_what_is_unused_for_long_goes_whole(machine: Path, index: Path) -> None:
    store = Store()
    old, new = built(index, "clash==1.0"), built(index, "clash==2.0")
    age(store, old)
    dry = list(upkeep.collect(store, unused_for=3600, dry_run=True))
    assert [one.what for one in dry] == [old]
    assert store.get(old) is not None
    gone = list(upkeep.collect(store, unused_for=3600))
    assert [one.what for one in gone] == [old]
    assert gone[0].size > 0
    assert [one.key for one in store.all()] == [new]
    assert [path.name for path in machine.iterdir() if path.is_dir()] == [new]
    assert not prepare(env(index, "clash==1.0")).cached  # it is built anew


def test_a_use_is_remembered(machine: Path, index: Path) -> None:
    store, key = Store(), built(index)
    age(store, key)
    prepare(env(index))
    assert time.time() - store.all()[0].last_used < 3600
    assert list(upkeep.collect(store, unused_for=3600)) == []


def test_what_a_thread_or_a_process_uses_stays(machine: Path, index: Path) -> None:
    store = Store()
    held = prepare(env(index))
    assert held.key is not None
    assert held.hold is not None
    age(store, held.key)
    assert upkeep.in_use(store.all()[0])
    assert list(upkeep.collect(store, unused_for=0)) == []
    assert upkeep.remove(store, store.all()[0]) is None
    held.hold.release()
    held.hold.release()
    other = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(index)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline().strip() == held.key
    assert list(upkeep.collect(store, unused_for=0)) == []
    other.send_signal(signal.SIGKILL)  # however it ends, what it held is free
    other.communicate()
    assert [one.what for one in upkeep.collect(store, unused_for=0)] == [held.key]


def test_a_model_that_cannot_be_loaded_holds_nothing(machine: Path, index: Path, tmp_path: Path) -> None:
    """No worker runs on the numpy of these wheels."""
    store = Store()
    (tmp_path / "model.py").write_text("def f(): return {}\n")
    with pytest.raises(isopod.IsopodError, match="numpy"):
        isopod.load(tmp_path / "model.py:f", env=env(index))
    (one,) = store.all()
    assert not upkeep.in_use(one)


@pytest.mark.network
def test_a_live_model_keeps_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOPOD_HOME", str(tmp_path / "home"))
    (tmp_path / "model.py").write_text("import os\ndef f(): return {'pid': os.getpid()}\n")
    before = census.take()
    model = isopod.load(tmp_path / "model.py:f", env=Env())
    (one,) = Store().all()
    try:
        assert list(upkeep.collect(Store(), unused_for=0)) == []
        os.kill(model()["pid"], signal.SIGKILL)
        assert model()["pid"] > 0  # the next worker finds it there
        model.reload()
        assert upkeep.in_use(one)
    finally:
        model.close()
    assert not upkeep.in_use(one)
    assert [gone.what for gone in upkeep.collect(Store(), unused_for=0)] == [one.key]
    del model
    assert [line for line in census.left_over(before) if "environments" in line] == []


def test_what_killed_builds_left_goes_and_a_live_build_stays(machine: Path, index: Path) -> None:
    store, key = Store(), built(index)
    (machine / ".staging-0123abcd-left").mkdir()
    with store.lock("4567cdef", lambda holder: None), store.staging("4567cdef") as live:
        gone = list(upkeep.collect(store, unused_for=3600))
        assert [one.what for one in gone] == [".staging-0123abcd-left"]
        assert live.is_dir()
        with store.lock(key, lambda holder: None):  # its builder looks whether it is whole
            assert upkeep.remove(store, store.all()[0]) is None


def test_race_late_hold(machine: Path, index: Path) -> None:
    """Removed between the look and the hold: there is none, and ``prepare`` builds it anew."""
    folder = Store().folder(built(index))
    aside = folder.with_name("aside")
    with ThreadPoolExecutor(1) as pool, alone(folder) as free:
        assert free
        late = pool.submit(hold, folder)
        until_it_waits(folder)
        folder.rename(aside)
        shutil.copytree(aside, folder, symlinks=True)  # another one of that name is not what was locked
    assert late.result(GUARD) is None


def test_a_look_whether_it_is_used_takes_it_from_nobody(machine: Path, index: Path) -> None:
    """``isopod env list`` in another terminal: whoever comes just then waits, and has it."""
    folder = Store().folder(built(index))
    with ThreadPoolExecutor(1) as pool, alone(folder) as free:
        assert free
        late = pool.submit(hold, folder)
        until_it_waits(folder)
    held = late.result(GUARD)
    assert held is not None
    with alone(folder) as free:
        assert not free
    held.release()


def until_it_waits(folder: Path) -> None:
    """Until another thread has the folder open: it is locked, so that one can only wait."""
    ours = str(folder)
    until(lambda: sum(os.readlink(link) == ours for link in descriptors()) >= 2)


def descriptors() -> list[str]:
    return [link for fd in os.listdir("/proc/self/fd") if os.path.lexists(link := f"/proc/self/fd/{fd}")]


def test_a_forked_copy_lets_go_and_its_parent_holds_on(machine: Path, index: Path) -> None:
    held = prepare(env(index))
    (one,) = Store().all()
    child = os.fork()
    if child == 0:
        os._exit(held.hold is None or held.hold._descriptor != -1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert upkeep.in_use(one)


def test_changes_are_found(machine: Path, index: Path) -> None:
    store, key = Store(), built(index, "clash==1.0")
    (one,) = store.all()
    assert upkeep.verify(one, contents=True) == []
    site = next(one.prefix.glob("lib/python*/site-packages"))
    (site / "clash.py").unlink()  # the file may be a link into the resolver's cache
    (site / "clash.py").write_text("__version__ = '1.1'\n")
    assert upkeep.verify(one) == []
    assert upkeep.verify(one, contents=True) == ["clash: clash.py is not what was installed"]
    (site / "clash.py").unlink()
    assert upkeep.verify(one, contents=True) == ["clash: clash.py is gone"]
    shutil.rmtree(site / "clash-1.0.dist-info")
    (site / "smuggled-3.dist-info").mkdir()
    (site / "smuggled-3.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: smuggled\nVersion: 3\n")
    assert upkeep.verify(one) == [
        "clash==1.0 was installed, and is gone",
        "smuggled==3 is there, and was not installed by isopod",
    ]
    (one.prefix / "bin" / "python").unlink()
    assert any("there is no Python interpreter" in line for line in upkeep.verify(one))
    assert store.get(key) is None  # and it is not served any more


def test_another_store_is_looked_in_and_never_written_to(
    machine: Path, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = built(index)
    image = tmp_path / "image"
    machine.rename(image)
    age(Store(image), key)
    kept = sorted((path, path.lstat().st_mtime_ns) for path in image.rglob("*"))
    image.chmod(0o555)
    monkeypatch.setenv("ISOPOD_STORES", f"{tmp_path / 'nowhere'}{os.pathsep}{image}")
    there = prepare(env(index))
    assert there.cached
    assert image in there.prefix.parents
    assert not machine.exists()
    (one,) = Store().all()
    with pytest.raises(SpecError, match="only looked in"):
        upkeep.remove(Store(), one)
    image.chmod(0o755)
    there = prepare(env(index, "clash==1.0"))
    assert machine in there.prefix.parents
    assert [gone.what for gone in upkeep.collect(Store(), unused_for=-1)] == []  # held; and the other is not ours
    assert [path for path, _ in kept] == sorted(image.rglob("*"))


def test_a_key_may_be_shortened(machine: Path, index: Path) -> None:
    store, key = Store(), built(index)
    assert upkeep.find(store, key[:6]).key == key
    for wrong in ("", "zzz"):
        with pytest.raises(SpecError, match=key[:12]):
            upkeep.find(store, wrong)
    shutil.copytree(store.folder(key), store.folder(key[:-1] + "?"), symlinks=True)
    assert published(store.folder(key[:-1] + "?")) is None  # its own key is another one


def test_a_store_that_cannot_be_written_to_is_told(machine: Path, index: Path, tmp_path: Path) -> None:
    key = built(index)
    (machine / f"{key}.lock").unlink()
    (machine / f"{key}.lock").mkdir()  # a folder without the right to write would not stop root
    with pytest.raises(SpecError, match=f"nothing can be removed from {machine}"):
        upkeep.remove(Store(), Store().all()[0])


def test_an_empty_line_in_a_record_is_no_file(machine: Path, index: Path) -> None:
    built(index, "clash==1.0")
    (one,) = Store().all()
    record = next(one.prefix.glob("lib/python*/site-packages/clash-1.0.dist-info/RECORD"))
    text = record.read_text()
    record.unlink()  # the file may be a link into the resolver's cache
    record.write_text(f"\n{text}\n")
    assert upkeep.verify(one, contents=True) == []


def test_what_is_not_whole_goes_too_when_it_is_old(machine: Path, index: Path) -> None:
    """One that an older isopod built, one whose interpreter was removed; and what is nobody's environment stays."""
    store, key = Store(), built(index, "clash==1.0")
    other = built(index, "clash==2.0")
    (store.folder(key) / META).write_text('{"key": "of another time"}')
    (store.folder(other) / "venv" / "bin" / "python").unlink()
    (machine / "notes").mkdir()
    assert store.all() == []
    assert list(upkeep.collect(store, unused_for=3600)) == []
    age(store, key)
    age(store, other)
    assert sorted(one.what for one in upkeep.collect(store, unused_for=3600)) == sorted((key, other))
    assert [path.name for path in machine.iterdir() if path.is_dir()] == ["notes"]
