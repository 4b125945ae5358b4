"""What holds for every test: the census around it, a temporary folder of its own run, and when a marker skips."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import census
import numpy as np  # noqa: F401  (starts its native threads now, before the first count)
import pytest

pytest_plugins = ["pytester"]


def pytest_configure(config: pytest.Config) -> None:
    """Temporary files go to a folder of this run, so that the census sees nobody else's; workers inherit it."""
    outer = tempfile.gettempdir()
    own = tempfile.mkdtemp(prefix="isopod-tests-")
    before = {name: os.environ.get(name) for name in ("TMPDIR", "PYTEST_DEBUG_TEMPROOT")}
    os.environ["TMPDIR"] = tempfile.tempdir = own
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", outer)  # tmp_path stays where pytest keeps the last three runs

    def restore() -> None:
        tempfile.tempdir = None
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        shutil.rmtree(own, ignore_errors=True)

    config.add_cleanup(restore)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skips = {
        "gpu": (Path("/dev/nvidiactl").exists(), "this machine has no NVIDIA GPU"),
    }
    for item in items:
        for marker, (runs, reason) in skips.items():
            if item.get_closest_marker(marker) and not runs:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True, scope="module")
def _supervisor_at_rest() -> Iterator[None]:
    """Set up before a module's own fixtures, and so torn down after them."""
    with census.supervisor_at_rest():
        yield


@pytest.fixture(autouse=True)
def _census(_supervisor_at_rest: None) -> Iterator[None]:
    """Fails a test that leaves anything behind. Autouse comes first, so the test's other fixtures are gone by then."""
    before = census.take()
    with census.supervisor_at_rest():
        yield
    lines = census.left_over(before)
    if lines:
        census.end_children(before)
        pytest.fail("left behind:\n  " + "\n  ".join(lines), pytrace=False)
