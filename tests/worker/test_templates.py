"""Workers that a template forks: they are workers like others, and what cannot be forked is told and spawned."""

from __future__ import annotations

import logging.handlers
import os
import queue
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from application import Application, gone
from prefixes import prefix_with
from waits import GUARD

import isopod
from isopod import CrashReport, Env, ModelError, SpecError, WorkerCrashed, WorkerTimeout
from isopod.runtime.environment import prepare

THREADS = {"OMP_NUM_THREADS": "2"}


def load(models: Path, **options: Any) -> isopod.Model:
    options = {"env": Env.current(), "start": "fork-template", "timeout": GUARD, **options}
    return isopod.load(models / "templates.py:Forked", **options)


@pytest.fixture
def forked(models: Path) -> Iterator[isopod.Model]:
    with load(models) as model:
        yield model
        assert model()["parent"] != os.getpid()


def template_of(model: isopod.Model) -> int:
    return int(model()["parent"])


def test_a_forked_worker_is_a_process_of_its_own(forked: isopod.Model) -> None:
    told = forked()
    assert told["parent"] not in (os.getpid(), told["pid"])
    assert told["group"] == told["session"] == told["pid"] == forked.health.pid
    assert psutil.Process(told["parent"]).ppid() == os.getpid()
    assert told["folder"]
    assert told["product"] == 300**3  # numpy's threads, which ended for the fork, are there again
    assert told["was_there"]  # what the model's file imports had been imported before


def test_an_ordinary_worker_imports_for_itself(models: Path) -> None:
    with load(models, start="spawn") as model:
        told = model()
        assert not told["was_there"]
        assert told["parent"] == os.getpid()


def test_workers_share_a_template_and_no_random_numbers(models: Path) -> None:
    with load(models, workers=3) as one, load(models, name="another") as other:
        told = [one() for _ in range(24)] + [other()]
        assert len({answer["pid"] for answer in told}) >= 2
        assert len({answer["parent"] for answer in told}) == 1
        first = {answer["pid"]: answer["drawn"] for answer in reversed(told)}
        assert len(set(first.values())) == len(first)


def test_another_environment_is_another_template(models: Path) -> None:
    with load(models) as one, load(models, env=Env.current(variables={"ISOPOD_TEST": "1"})) as other:
        assert template_of(one) != template_of(other)


def test_processors_are_those_that_were_asked_for(models: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    with load(models, cpus=[cpu]) as pinned, load(models) as free:
        assert list(pinned()["cpus"]) == [cpu]
        assert set(free()["cpus"]) == os.sched_getaffinity(0)


def test_what_it_prints_is_logged_as_the_models(forked: isopod.Model) -> None:
    records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    logger, handler = logging.getLogger("isopod.worker.Forked.0"), logging.handlers.QueueHandler(records)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        forked(do="say", x="here I am")
        assert records.get(timeout=GUARD).getMessage() == "here I am"
    finally:
        logger.setLevel(logging.NOTSET)
        logger.removeHandler(handler)


@pytest.mark.parametrize(
    ("asked", "fact"), [({"do": "exit", "x": 7}, "exited with code 7"), ({"do": "fault"}, "killed by SIGSEGV")]
)
def test_how_it_died_is_known(forked: isopod.Model, asked: dict[str, Any], fact: str) -> None:
    template = template_of(forked)
    with pytest.raises(WorkerCrashed, match=fact) as caught:
        forked(asked)
    assert caught.value.report is not None
    assert ("do_fault" in str(caught.value)) == (fact == "killed by SIGSEGV")
    assert template_of(forked) == template  # the next one came of the same


def test_a_deadline_ends_it(forked: isopod.Model) -> None:
    with pytest.raises(WorkerTimeout, match="do_sleep"):
        forked(do="sleep", x=3600, timeout=0.2)
    assert forked()["was_there"]


def test_what_it_started_goes_with_it(forked: isopod.Model) -> None:
    left = forked(do="leave_somebody")["pid"]
    with pytest.raises(WorkerCrashed):
        forked(do="exit", x=1)
    gone(left)


def test_workers_outlive_their_template_and_the_next_one_has_another(forked: isopod.Model) -> None:
    before = forked()
    os.kill(before["parent"], signal.SIGKILL)
    gone(before["parent"])
    assert forked()["pid"] == before["pid"]
    with pytest.raises(WorkerCrashed, match=f"pid {before['pid']}") as caught:
        forked(do="fault")
    assert isinstance(caught.value.report, CrashReport)
    assert caught.value.report.status is None  # whoever took the orphan in has its status
    assert forked()["parent"] not in (before["parent"], os.getpid())


def test_an_orphan_takes_along_what_it_started(forked: isopod.Model) -> None:
    before = forked()
    left = forked(do="leave_somebody")["pid"]
    os.kill(before["parent"], signal.SIGKILL)
    gone(before["parent"])
    with pytest.raises(WorkerCrashed):
        forked(do="exit", x=1)
    gone(left)


def test_all_of_it_goes_with_the_application() -> None:
    application = Application(
        """
model = isopod.load(MODELS + "/templates.py:Forked", start="fork-template", workers=2)
told = [model() for _ in range(9)]
tell(*{answer["pid"] for answer in told} | {answer["parent"] for answer in told})
tell("ready")
sys.stdin.read()
"""
    )
    family = [int(pid) for pid in application.line().split()]
    assert application.line() == "ready"
    application.process.kill()
    application.end()
    for pid in family:
        gone(pid)


def test_a_fork_of_the_application_keeps_no_worker_alive(forked: isopod.Model) -> None:
    """A copy of the lifeline in it would."""
    read, write = os.pipe()
    copy = os.fork()
    if copy == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    try:
        left = forked(do="leave_somebody")["pid"]
        with pytest.raises(WorkerCrashed):
            forked(do="exit", x=1)
        gone(left)
    finally:
        os.close(write)
        os.close(read)
        os.waitpid(copy, 0)


def test_the_template_ends_with_its_last_model(models: Path) -> None:
    with load(models) as one:
        with load(models, name="another") as other:
            template = template_of(other)
        assert template_of(one) == template
    gone(template)


# ---------------------------------------------------------------------- what cannot be forked

THREAD = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
MODEL = "import os\nimport {module}\ndef run():\n    return {{'parent': os.getppid()}}\n"


def importing(module: str, folder: Path) -> Path:
    file = folder / f"model_of_{module}.py"
    file.write_text(MODEL.format(module=module))
    return file


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "isopod")
    return caplog


def test_a_library_that_starts_threads_is_told_of_and_spawned(
    tmp_path: Path, warnings: pytest.LogCaptureFixture
) -> None:
    env = Env.existing(prefix_with({"busy_library": THREAD}, tmp_path / "env"))
    with isopod.load(f"{importing('busy_library', tmp_path)}:run", env=env, start="fork-template", workers=2) as model:
        assert model()["parent"] == os.getpid()
        workers = {worker.pid for worker in model.health.workers}
        for child in psutil.Process().children():
            if child.pid not in workers:
                gone(child.pid)  # a template of nothing does not stay
    assert "spawned, not forked" in warnings.text
    assert "the import of busy_library started 1 threads" in warnings.text


def test_a_template_that_dies_on_an_import_leaves_the_telling_to_a_worker(
    tmp_path: Path, warnings: pytest.LogCaptureFixture
) -> None:
    env = Env.existing(prefix_with({"fatal_library": "import os\nos._exit(9)\n"}, tmp_path / "env"))
    with pytest.raises(WorkerCrashed, match="exited with code 9"):
        isopod.load(f"{importing('fatal_library', tmp_path)}:run", env=env, start="fork-template")
    assert "it died before its first worker" in warnings.text


def test_a_template_that_hangs_is_given_up(tmp_path: Path, warnings: pytest.LogCaptureFixture) -> None:
    hangs = "import os\nif os.getppid() == int(os.environ['PARENT']) and not os.path.exists(os.environ['ONCE']):\n"
    hangs += "    open(os.environ['ONCE'], 'w').close()\n    __import__('threading').Event().wait()\n"
    variables = {"PARENT": str(os.getpid()), "ONCE": str(tmp_path / "once")}
    env = Env.existing(prefix_with({"slow_library": hangs}, tmp_path / "env"), variables=variables)
    file = importing("slow_library", tmp_path)
    with isopod.load(f"{file}:run", env=env, start="fork-template", load_timeout=3.0) as model:
        assert model()["parent"] == os.getpid()
    assert "it did not fork a worker in time" in warnings.text


def test_what_a_model_cannot_import_its_worker_explains(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no_such_library"):
        isopod.load(f"{importing('no_such_library', tmp_path)}:run", env=Env.current(), start="fork-template")


def test_a_wrong_word_is_a_spec_error(models: Path) -> None:
    with pytest.raises(SpecError, match="start cannot be 'fork'; it is one of 'spawn', 'fork-template'"):
        load(models, start="fork")


TORCH = "import torch\ntorch.ones(3_000_000).exp()\ntorch.ones(500, 500) @ torch.ones(500, 500)\n"
FORKED = """
import os, sys
sys.path.insert(0, sys.argv[1])
import computes_early, torch
if os.fork() == 0:
    torch.ones(3_000_000).exp()
    os._exit(0)
os.wait()
"""


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(600)
def test_what_computes_before_the_fork_would_hang_after_it(tmp_path: Path, warnings: pytest.LogCaptureFixture) -> None:
    """OpenMP's threads are there after one operation, and a copy waits for them for ever."""
    prepared = prepare(Env(["torch==2.13.*"], python=f"{sys.version_info.major}.{sys.version_info.minor}"))
    assert prepared.hold is not None
    packages = str(prepared.site_dirs[0])
    env = Env.existing(prefix_with({"computes_early": TORCH}, tmp_path / "env", packages), variables=THREADS)
    file = importing("computes_early", tmp_path)
    with isopod.load(f"{file}:run", env=env, start="fork-template") as model:
        assert model()["parent"] == os.getpid()
    assert re.search(r"the import of computes_early started \d threads", warnings.text)
    site = next((tmp_path / "env" / "lib").glob("python*/site-packages"))
    command = [sys.executable, "-c", FORKED, str(site)]
    hanging = subprocess.Popen(command, env={**os.environ, **THREADS, "PYTHONPATH": packages}, start_new_session=True)
    try:
        pidfd = os.pidfd_open(hanging.pid)
        # The one wait for something that must not come: without the computation before it, it takes two seconds.
        assert not select.select([pidfd], [], [], 15.0)[0]
        os.close(pidfd)
    finally:
        os.killpg(hanging.pid, signal.SIGKILL)
        hanging.wait()
        prepared.hold.release()


SCRIPTED = """
import torch

class Double(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2

def write(path):
    torch.jit.script(Double()).save(path)
    return {"written": path}
"""


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")
def test_a_model_files_framework_is_imported_ahead(tmp_path: Path) -> None:
    env = Env(["torch==2.13.*"], python=f"{sys.version_info.major}.{sys.version_info.minor}")
    (tmp_path / "writer.py").write_text(SCRIPTED)
    with isopod.load(tmp_path / "writer.py:write", env=env) as writer:
        writer(path=str(tmp_path / "double.pt"))
    with isopod.load(tmp_path / "double.pt", env=env, start="fork-template") as model:
        assert model(x=np.ones(3, np.float32))["output"].tolist() == [2, 2, 2]
        template = psutil.Process(model.health.pid).parent()
        assert template is not None
        assert template.ppid() == os.getpid()
        assert any("libtorch" in part.path for part in template.memory_maps())
