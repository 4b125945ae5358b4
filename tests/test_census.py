"""The census sees each kind of thing that can be left behind, and waits for what is on its way out."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import census
import psutil
import pytest


def lines_now(before: census.Census) -> list[str]:
    return census.left_over(before, grace_s=0)


def test_nothing_left_is_an_empty_list() -> None:
    before = census.take()
    with tempfile.TemporaryFile(), subprocess.Popen([sys.executable, "-c", ""]):
        pass
    assert census.left_over(before) == []


def test_an_open_descriptor_is_named_with_its_target() -> None:
    before = census.take()
    fd = os.open("/dev/zero", os.O_RDONLY)
    try:
        assert lines_now(before) == [f"fds: {fd} -> /dev/zero"]
    finally:
        os.close(fd)


def test_a_descriptor_that_points_elsewhere_now_is_seen() -> None:
    fd = os.open("/dev/zero", os.O_RDONLY)
    other = os.open("/dev/null", os.O_RDONLY)
    before = census.take()
    try:
        os.dup2(other, fd)
        assert lines_now(before) == [f"fds: {fd} -> /dev/null"]
    finally:
        os.close(fd)
        os.close(other)


def test_children_and_grandchildren_are_named_with_their_command() -> None:
    before = census.take()
    nested = "import subprocess, sys; subprocess.run(['sleep', '1000'], stdin=sys.stdin)"
    with subprocess.Popen([sys.executable, "-c", nested], start_new_session=True) as child:
        try:
            # Between its fork and its exec, the grandchild still has its parent's command.
            while [one.name() for one in psutil.Process(child.pid).children()] != ["sleep"]:
                assert child.poll() is None
            text = "\n".join(lines_now(before))
            assert f"children: pid {child.pid}" in text
            assert "sleep 1000" in text
        finally:
            os.killpg(child.pid, 9)


def test_a_dead_child_that_nobody_waited_for_is_left_over() -> None:
    before = census.take()
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert any(f"pid {child.pid} (zombie)" in line for line in lines_now(before))
    child.wait()
    assert lines_now(before) == []


def test_children_that_were_left_behind_are_ended_and_no_others() -> None:
    with subprocess.Popen(["sleep", "1000"]) as older:
        before = census.take()
        with subprocess.Popen(["sleep", "1000"]) as child:
            census.end_children(before)
            assert child.wait(60) == -9
        assert older.poll() is None
        older.kill()


def test_a_thread_is_named() -> None:
    before = census.take()
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="forgotten")
    thread.start()
    try:
        assert "threads: 'forgotten' (daemon=False)" in lines_now(before)
    finally:
        end.set()
        thread.join()
    assert census.left_over(before) == []


@pytest.mark.parametrize(
    ("kind", "folder", "name"),
    [
        ("shared_memory", census.SHARED_MEMORY, f"sem.isopod-census-{os.getpid()}"),
        ("shared_memory", census.SHARED_MEMORY, f"isopod-census-{os.getpid()}"),
        ("temporary", None, "isopod-census"),
    ],
)
def test_a_named_file_is_seen(kind: str, folder: Path | None, name: str) -> None:
    path = (folder or Path(tempfile.gettempdir())) / name
    before = census.take()
    path.touch()
    try:
        assert f"{kind}: {path}" in lines_now(before)
    finally:
        path.unlink()


def test_what_is_about_to_go_is_waited_for() -> None:
    before = census.take()
    fd = os.open("/dev/zero", os.O_RDONLY)
    timer = threading.Timer(0.1, os.close, [fd])
    timer.start()
    assert census.left_over(before) == []
    timer.join()


def test_the_fixture_fails_a_test_with_the_list(pytester: pytest.Pytester) -> None:
    here = Path(__file__).parent
    conftest = (here / "conftest.py").read_text().replace('pytest_plugins = ["pytester"]', "")
    pytester.makeconftest(conftest.replace("left_over(before)", "left_over(before, grace_s=0)"))
    pytester.makepyfile(
        "import os\ndef test_leaks():\n    os.open('/dev/zero', os.O_RDONLY)\ndef test_clean():\n    pass\n"
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", f"--override-ini=pythonpath={here}")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["left behind:", "  fds: * -> /dev/zero"])


class TestSupervisor:
    """The library's long-lived threads end after the test that started them, and not before."""

    @pytest.fixture
    def calls(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        calls: list[str] = []
        fake = type(sys)("isopod.runtime.supervisor")
        fake.shutdown = lambda: calls.append("shutdown")  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "isopod.runtime.supervisor", fake)
        return calls

    def test_it_is_shut_down_after_use(self, calls: list[str]) -> None:
        with census.supervisor_at_rest():
            assert calls == []
        assert calls == ["shutdown"]

    def test_it_stays_when_a_wider_fixture_runs_it(self, calls: list[str]) -> None:
        end = threading.Event()
        thread = threading.Thread(target=end.wait, name="isopod-monitor")
        thread.start()
        with census.supervisor_at_rest():
            pass
        end.set()
        thread.join()
        assert calls == []
