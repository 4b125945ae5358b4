"""A worker has the descriptors that it needs, and none that its application happened to have open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import isopod

MODEL = """
import os
def look():
    names = []
    for number in range(256):
        try:
            os.fstat(number)
        except OSError:
            continue
        try:
            names.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            names.append("?")
    return {"names": names}
"""


@pytest.mark.parametrize("profile", ["none", "limits", "strict"])
def test_no_descriptor_of_the_application_is_inherited(profile: str, tmp_path: Path) -> None:
    (tmp_path / "look.py").write_text(MODEL)
    secret = tmp_path / "secret"
    secret.write_text("x")
    opened = os.open(secret, os.O_RDONLY)
    try:
        os.set_inheritable(opened, True)
        with isopod.load(tmp_path / "look.py:look", sandbox=profile) as model:
            names = model()["names"]
    finally:
        os.close(opened)
    assert not [name for name in names if "secret" in name]
    kinds = {name.partition(":")[0] for name in names}
    assert kinds <= {"pipe", "socket", "/dev/null", "/memfd"}, "no file, no directory, no doorbell"
