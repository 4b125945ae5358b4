"""A home of its own for each test of pods: what is unpacked in one is not there in the next."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def pod_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns the folder that pods are unpacked in; environments stay where they are."""
    home = tmp_path / "home"
    monkeypatch.setattr("isopod.runtime.pods.cache.home", lambda: home)
    return home / "pods"
