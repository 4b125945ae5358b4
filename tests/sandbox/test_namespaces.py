"""Namespaces on top of the lock: where the machine has them, and what is said where it does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from waits import GUARD

import isopod
from isopod import Sandbox
from isopod.runtime.sandbox.machine import trial

HERE = Path(__file__).resolve().parent
CONTAINER = HERE.parent / "attacks" / "container.py"
SIZE = 1 << 20
NAMES = ("user", "net", "ipc", "mnt")

has_namespaces = pytest.mark.skipif(
    not trial(Sandbox("strict", namespaces="required"))[0], reason="this machine gives no namespaces"
)


def seen_from_here(pid: int | str) -> dict[str, str]:
    return {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in NAMES}


@has_namespaces
def test_a_worker_has_namespaces_of_its_own() -> None:
    with isopod.load(HERE / "models" / "abuse.py:calm", sandbox=Sandbox("strict", namespaces="required")) as model:
        (pid,) = model.sandbox_report().pids
        own, its = seen_from_here("self"), seen_from_here(pid)
        assert not set(own.values()) & set(its.values())
        told = {one.name: one for one in model.sandbox_report().mechanisms}["namespaces"]
        assert (told.detail, told.seen_by) == ("user, network, ipc, mounts", "application")
        assert model(x=1)["output"] == 2


def test_off_is_off() -> None:
    with isopod.load(HERE / "models" / "abuse.py:calm", sandbox=Sandbox("strict", namespaces="off")) as model:
        (pid,) = model.sandbox_report().pids
        assert seen_from_here("self") == seen_from_here(pid)
        assert not model.sandbox_report().holds("namespaces")


@has_namespaces
@pytest.mark.parametrize("how", ["one_file", "many_files", "deleted_files"])
def test_a_scratch_folder_of_its_own_is_exact(how: str) -> None:
    """It is full, and says so: the worker need not be ended, and nothing of it is seen outside."""
    box = Sandbox("strict", scratch=SIZE, namespaces="required")
    with isopod.load(HERE / "models" / "abuse.py:abuse", sandbox=box, timeout=GUARD) as model:
        if how == "one_file":
            assert model(how=how, size=4 * SIZE)["outcome"] == "refused"
        else:
            with pytest.raises(isopod.ModelError, match="No space left on device"):
                model(how=how, size=SIZE)
        pid = model.health.pid
        assert model(how="memory", size=1 << 24)["outcome"] == "got"
        assert model.health.pid == pid, "it is the same worker"


PROGRAM = """
import sys, isopod
options = {"namespaces": sys.argv[1]}
try:
    with isopod.load(sys.argv[2] + ":calm", sandbox=isopod.Sandbox("strict", scratch=1 << 20, **options)) as model:
        print(model(x=1)["output"], model.sandbox_report().holds("namespaces"))
except isopod.SandboxUnavailable as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("namespaces", "said"),
    [("auto", "2 False"), ("required", "namespaces: a user namespace cannot be had (Operation not permitted)")],
)
def test_a_container_that_forbids_them(namespaces: str, said: str) -> None:
    command = [sys.executable, str(CONTAINER), sys.executable, "-c", PROGRAM, namespaces]
    done = subprocess.run([*command, str(HERE / "models" / "abuse.py")], capture_output=True, text=True, check=False)
    assert said in done.stdout, done.stderr


def test_doctor_in_a_container(tmp_path: Path) -> None:
    command = [sys.executable, str(CONTAINER), sys.executable, "-m", "isopod", "doctor", "--json"]
    variables = {**os.environ, "ISOPOD_HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["sandbox 'strict'"]["good"] is True
    assert checks["namespaces"]["good"] is None
    assert "Operation not permitted" in checks["namespaces"]["value"]
