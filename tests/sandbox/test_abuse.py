"""A strict model that takes what it can is contained: it is refused, or ended, and its neighbour goes on to answer."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from waits import GUARD

import isopod
from isopod import Sandbox
from isopod.runtime.sandbox.scratch import sweep

MODELS = Path(__file__).resolve().parent / "models"
SIZE = 1 << 20


def abuser(**options: object) -> isopod.Model:
    box = Sandbox("strict", **options)  # type: ignore[arg-type]
    return isopod.load(MODELS / "abuse.py:abuse", sandbox=box, timeout=GUARD, memory_limit=64 << 20)


def scratch_folders() -> list[str]:
    return [name for name in os.listdir(tempfile.gettempdir()) if name.startswith("isopod-scratch-")]


@pytest.fixture
def neighbour() -> Iterator[isopod.Model]:
    with isopod.load(MODELS / "abuse.py:calm", timeout=GUARD) as model:
        model(x=np.zeros(4))
        yield model


def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_memory_ends_at_its_address_space(neighbour: isopod.Model) -> None:
    with abuser(address_space=1 << 30) as model:
        out = model(how="memory", size=4 << 30)
        assert (out["outcome"], out["got"] < 1 << 30) == ("refused", True)
        assert neighbour(x=np.ones(4))["output"].sum() == 8
        assert model(how="memory", size=1 << 26)["outcome"] == "got", "it is the same worker, and works"


def test_threads_end_at_its_address_space(neighbour: isopod.Model) -> None:
    with abuser(address_space=1 << 30) as model:
        out = model(how="threads", size=400)
        assert out["outcome"] == "refused"
        assert out["got"] < 128, "a stack is 8 MiB of address space"
        assert neighbour(x=np.ones(4))["output"].sum() == 8


@pytest.mark.parametrize("namespaces", ["auto", "off"])
def test_a_file_ends_at_the_size_of_the_scratch_folder(namespaces: str) -> None:
    with abuser(scratch=SIZE, namespaces=namespaces) as model:
        assert model(how="one_file", size=4 * SIZE)["outcome"] == "refused"


@pytest.mark.parametrize("how", ["many_files", "deleted_files"])
def test_a_scratch_folder_that_is_overfilled_ends_its_worker(how: str, neighbour: isopod.Model) -> None:
    with abuser(scratch=SIZE, namespaces="off") as model:
        with pytest.raises(isopod.WorkerCrashed, match=f"filled its scratch folder of {SIZE} bytes"):
            model(how=how, size=SIZE)
        assert neighbour(x=np.ones(4))["output"].sum() == 8
        assert model(how="memory", size=1 << 24)["outcome"] == "got", "the next worker serves"
        assert len(scratch_folders()) == 1, "that of the dead worker is gone"
    assert scratch_folders() == []


def test_what_is_hidden_in_a_scratch_folder_ends_its_worker(neighbour: isopod.Model) -> None:
    with abuser(scratch=SIZE, namespaces="off") as model:
        with pytest.raises(isopod.WorkerCrashed, match=r"cannot be looked into \(File name too long\)"):
            model(how="deep_files")
        assert neighbour(x=np.ones(4))["output"].sum() == 8
        assert model(how="memory", size=1 << 24)["outcome"] == "got", "the next worker serves"
        assert len(scratch_folders()) == 1, "that of the dead worker is gone"
    assert scratch_folders() == []


CLOSED = """
import os, sys, tempfile
from isopod.runtime.keeper import Keeper
from isopod.runtime.sandbox.scratch import Scratch
if os.getuid() == 0:  # root looks into everything
    os.setgroups([]), os.setgid(54321), os.setuid(54321)
tempfile.tempdir = sys.argv[1]
why = []
made = Scratch(1 << 20, os.getpid(), Keeper(), why.append)
for mode in (0o300, 0):
    os.mkdir(made.path + f"/{mode}", 0o700)
    open(made.path + f"/{mode}/file", "w").close()
    os.chmod(made.path + f"/{mode}", mode)
made._look()
made.close()
print(why, os.listdir(sys.argv[1]))
"""


def test_a_folder_that_forbids_to_be_looked_into_is_found_and_removed() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o777)
        done = subprocess.run([sys.executable, "-c", CLOSED, folder], capture_output=True, text=True, check=False)
    told = "a folder in its scratch folder cannot be looked into (Permission denied)"
    assert done.stdout == f"{[told]} []\n", done.stderr


def test_a_scratch_folder_is_the_models_home(tmp_path: Path) -> None:
    (tmp_path / "where.py").write_text(
        "import os, tempfile\n"
        "def where():\n"
        "    with tempfile.NamedTemporaryFile('w') as file:\n"
        "        file.write('x')\n"
        "        names = [os.environ[name] for name in ('TMPDIR', 'HOME', 'KERAS_HOME', 'XDG_CACHE_HOME')]\n"
        "        return {'folders': [*names, os.path.dirname(file.name)]}\n"
    )
    with isopod.load(tmp_path / "where.py:where", sandbox=Sandbox("strict", scratch=SIZE)) as model:
        folders = model()["folders"]
        assert len(set(folders)) == 1
        assert os.path.isdir(folders[0])
    assert not os.path.exists(folders[0])


def test_what_a_killed_application_left_is_swept_and_what_lives_is_not(tmp_path: Path) -> None:
    left = Path(tempfile.mkdtemp(prefix="isopod-scratch-"))
    (left / "file").write_text("x")
    with abuser(scratch=SIZE) as model:
        assert not left.exists(), "nobody holds its lock"
        assert len(scratch_folders()) == 1
        sweep()
        assert len(scratch_folders()) == 1, "its application lives"
        assert model(how="memory", size=1 << 24)["outcome"] == "got"


def test_what_was_left_is_swept_however_deep_it_is() -> None:
    """Deeper than Python calls itself, and than a path can say: it would be in the way of each load from then on."""
    left = tempfile.mkdtemp(prefix="isopod-scratch-")
    folder = os.open(left, os.O_RDONLY)
    for level in range(3000):
        os.mkdir("deep", dir_fd=folder)
        above, folder = folder, os.open("deep", os.O_RDONLY, dir_fd=folder)
        os.close(above)
        if level % 500 == 0:
            os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
            os.symlink("/", "link", dir_fd=folder)
            os.mkdir("closed", 0, dir_fd=folder)
    os.close(folder)
    sweep()
    assert not os.path.exists(left)


def test_a_flood_of_lines_leaves_the_applications_memory_flat(neighbour: isopod.Model) -> None:
    with abuser() as model:
        model(how="log", seconds=0.2)
        before = resident()
        lines = model(how="log", seconds=1.5)["lines"]
        assert lines > 0
        assert neighbour(x=np.ones(4))["output"].sum() == 8
        assert resident() - before < 64 << 20


def test_a_model_that_burns_every_processor_leaves_its_neighbour_its_share(neighbour: isopod.Model) -> None:
    """What it costs the neighbour is measured by ``python -m benchmarks --only sandbox``."""
    with abuser() as model:
        burning = model.submit(how="burn", seconds=2.0, size=8)
        answered = 0
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            assert neighbour(x=np.ones(4))["output"].sum() == 8
            answered += 1
        assert answered > 10
        assert burning.result(GUARD)["outcome"] == "burnt"


def test_a_call_that_never_ends_is_ended_by_its_deadline() -> None:
    with abuser() as model:
        with pytest.raises(isopod.WorkerTimeout):
            model(how="burn", seconds=600.0, size=4, timeout=0.5)
        assert model(how="memory", size=1 << 24)["outcome"] == "got"
