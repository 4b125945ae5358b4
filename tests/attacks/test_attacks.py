"""Every attack, in every profile, as root, as a plain user, and behind a container's filter: see ``expected.txt``."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from isopod import Sandbox
from isopod.runtime.sandbox.machine import trial

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PROFILES = ("none", "limits", "strict", "processes")  # the last is strict, with processes of its own
SETTINGS = ("root", "user", "container")
# A container forbids the namespaces that processes need: there it is refused (test_a_container_that_forbids_it).
CELLS = [
    (setting, profile)
    for setting in SETTINGS
    for profile in PROFILES
    if (setting, profile) != ("container", "processes")
]
NOBODY_IN_PARTICULAR = 47113  # a number that no user of this machine has
# What is open in strict, and is told in docs/sandbox.md; the last is no attack: threads must go on to work.
OPEN_IN_STRICT = {"stat_known_path", "number_of_a_process", "writable_code", "threads_survive"}
# What a strict model that may start processes does beside that, and is told there: it starts and executes, has a
# /dev/shm of its own, dies with its namespace whomever it forgets, and each process has descriptors of its own anyway.
ALLOWED_WITH_PROCESSES = {
    "fork", "execute", "execute_in_place", "create_in_dev_shm", "forget_its_parent", "descriptors_of_a_thread",
}  # fmt: skip
_NAMED = """
    answer_of_another_call answer_of_no_call become_dumpable_to_all close_everything core_dump crash
    double_answer flip_headers flood_the_bell flood_the_log frames_of_garbage huge_outputs
    inherited_descriptor millions_of_maps object_dtype output_in_memory_of_the_application
    output_outside_of_its_segment raise_limit shrink_a_segment stop_itself x32
    punch_a_hole_into_a_neighbours_output write_into_a_neighbours_output map_a_neighbours_output_again
    make_a_neighbours_output_writable discard_a_neighbours_output
    child_that_goes_on_writing end_its_group memory_of_the_first_process timer_for_another type_into_the_terminal
    overflow_the_bells
"""
# Closed in every profile: by the wire, which believes nothing, by the kernel, or by what every worker has. (x32 is not
# built into many kernels; that a worker may stop or crash itself harms nobody else.)
CLOSED_FOR_ALL = set(_NAMED.split())
_ON_THE_MACHINE = """
    core_pattern handle_of_a_path mptcp vsock packet extended_attribute io_uring userfaultfd bpf perf_event keyring
    mount setns clone_namespace unshare ptrace ptrace_seize process_vm_readv proc_mem proc_mem_of_parent proc_environ
    pidfd_getfd int80 x32 message_queue shared_segment hijack_of_a_thread descriptors memory_by_mapping
    memory_by_shared_mapping memory_by_heap change_personality affinity_of_parent renice_parent raise_its_priority
    raise_limit core_dump program_of_root memory_of_the_first_process secret_memory watch_all_files gift_of_pages
    advise_another disk_priority_of_another real_time compare_with_another enlarge_a_pipe filter_with_a_listener
    namespaces_of_another semaphores_of_the_machine local_descriptors lock_memory administer
    write_into_an_input_by_proc_mem fork_bomb links_of_parent pidfd_of_parent clone3 read_by_parents_root
    change_an_output_afterwards
"""
# Whether these succeed without a sandbox depends on how this machine's kernel was built and set up, on its memory and
# its processors; the table says how it was where it was written. In strict, nothing depends on the machine.
DEPENDS_ON_THE_MACHINE = set(_ON_THE_MACHINE.split())

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def expected() -> dict[str, dict[tuple[str, str], str]]:
    """attack → (setting, profile) → ``+`` it succeeds, ``-`` it does not."""
    table = {}
    for line in (HERE / "expected.txt").read_text(encoding="ascii").splitlines():
        if line and not line.startswith("#"):
            attack, *marks = line.split()
            table[attack] = dict(zip(CELLS, "".join(marks), strict=True))
    return table


def base_for(setting: str) -> str:
    """An interpreter that a plain user can run, too: root's own folder is closed to others."""
    own = getattr(sys, "_base_executable", sys.executable)
    if setting != "user" or os.getuid() != 0:
        return str(own)
    for candidate in (
        os.path.realpath(own),
        shutil.which(f"python3.{sys.version_info[1]}", path="/usr/bin:/usr/local/bin"),
    ):
        if candidate is None:
            continue
        done = subprocess.run(
            [candidate, "-I", "-S", "-c", f"open({str(ROOT / 'pyproject.toml')!r})"],
            user=NOBODY_IN_PARTICULAR, group=NOBODY_IN_PARTICULAR, extra_groups=[], capture_output=True, check=False,
        ) if _may_run(candidate) else None  # fmt: skip
        if done is not None and done.returncode == 0:
            return candidate
    pytest.skip("no Python of this version that another user could run, or this folder is closed to others")


def _may_run(path: str) -> bool:
    try:
        subprocess.run(
            [path, "-I", "-S", "-c", ""], user=NOBODY_IN_PARTICULAR, group=NOBODY_IN_PARTICULAR, extra_groups=[],
            capture_output=True, check=False,
        )  # fmt: skip
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def ground() -> Iterator[Path]:
    """A folder that another user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="isopod-ground-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def environment(base: str, folder: Path) -> tuple[Path, Path]:
    """(its python, its site folder) of a virtual environment over our packages, on some base interpreter."""
    subprocess.run([base, "-I", "-m", "venv", "--without-pip", "--symlinks", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "packages.pth").write_text(f"import site; site.addsitedir({str(packages())!r})\n")
    return folder / "bin" / "python", site


@functools.cache
def packages() -> Path:
    import numpy as np

    return Path(np.__file__).resolve().parent.parent


def run(setting: str, profile: str, ground: Path) -> dict[str, dict[str, str]]:
    if profile == "processes" and not trial(Sandbox("strict", allow_subprocess=True))[0]:
        pytest.skip("this machine gives no namespace of processes")
    if setting == "root" and os.getuid() != 0:
        pytest.skip("this is not root")
    base = base_for(setting)
    home = ground / f"{setting}-{profile}"
    home.mkdir()
    python, _ = environment(base, home / "application")
    model, site = environment(base, home / "model")
    models = home / "models"
    shutil.copytree(HERE / "models", models, ignore=shutil.ignore_patterns("__pycache__"))
    command = [str(python), str(HERE / "harness.py"), str(models), profile]
    if setting == "container":
        command = [str(python), str(HERE / "container.py"), *command]
    options: dict[str, object] = {}
    if setting == "user" and os.getuid() == 0:
        options = {"user": NOBODY_IN_PARTICULAR, "group": NOBODY_IN_PARTICULAR, "extra_groups": []}
        for path in (home, *home.rglob("*")):
            os.chown(path, NOBODY_IN_PARTICULAR, NOBODY_IN_PARTICULAR, follow_symlinks=False)
    shutil.copy("/usr/bin/id", model.parent / "id-of-root")
    (model.parent / "id-of-root").chmod(0o4755)  # root's where this is root
    (home / "tmp").mkdir()
    (home / "tmp").chmod(0o777)
    variables = {
        "PATH": "/usr/bin:/bin", "HOME": str(home), "TMPDIR": str(home / "tmp"), "ISOPOD_HOME": str(home / "isopod"),
        "ISOPOD_ATTACK_ENV": str(model.parent.parent), "ISOPOD_ATTACK_SITE": str(site),
        "ISOPOD_ATTACK_PACKAGES": str(packages()), "PYTHONDONTWRITEBYTECODE": "1",
        "ISOPOD_ATTACK_SETUID": str(model.parent / "id-of-root"),
    }  # fmt: skip
    done = subprocess.run(command, env=variables, cwd=home, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, dict[str, str]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(("setting", "profile"), CELLS)
def test_what_succeeds_is_what_the_table_says(setting: str, profile: str, ground: Path) -> None:
    found = run(setting, profile, ground)
    if "ISOPOD_ATTACK_RECORD" in os.environ:
        Path(os.environ["ISOPOD_ATTACK_RECORD"], f"{setting}-{profile}.json").write_text(json.dumps(found))
    table = expected()
    assert set(found) == set(table)
    differ = {
        attack: (told, table[attack][setting, profile])
        for attack, told in found.items()
        if (profile in ("strict", "processes") or attack not in DEPENDS_ON_THE_MACHINE)
        and ("+" if told["verdict"] == "succeeded" else "-") != table[attack][setting, profile]
    }
    assert differ == {}


def test_in_strict_nothing_succeeds_but_what_is_told() -> None:
    table = expected()
    assert len(table) >= 47
    for setting in SETTINGS:
        assert {attack for attack, cells in table.items() if cells[setting, "strict"] != "-"} == OPEN_IN_STRICT


def test_with_processes_nothing_more_succeeds_but_what_they_are_for() -> None:
    table = expected()
    for setting in ("root", "user"):
        succeeds = {attack for attack, cells in table.items() if cells[setting, "processes"] != "-"}
        assert succeeds == OPEN_IN_STRICT - {"number_of_a_process"} | ALLOWED_WITH_PROCESSES


def test_each_attack_is_real() -> None:
    """It succeeds somewhere without a sandbox; what never does is a fault that is closed in every profile."""
    closed_for_all = {attack for attack, cells in expected().items() if set(cells.values()) == {"-"}}
    assert closed_for_all == CLOSED_FOR_ALL
