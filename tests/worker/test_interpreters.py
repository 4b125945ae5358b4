"""A child on every Python that this machine has, from 3.7 on, with a numpy of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import pythons

import isopod
from isopod import Env, ModelError, WorkerCrashed

VERSIONS = [f"3.{minor}" for minor in range(7, 14)]


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(600)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_child_on_this_python(version: str, models: Path) -> None:
    pythons.need(version)
    env = Env(requirements=["numpy"], python=version)
    with isopod.load(models / "reports.py:surroundings", env=env) as model:
        assert ".".join(map(str, model()["version"])) == version
    with isopod.load(models / "basic.py:Swiss", env=env, timeout=120) as model:
        array = model.empty("x", (4, 5), np.float32)
        array[:] = 1.5
        assert model(do="double", x=array)["y"].tolist() == [[3.0] * 5] * 4
        assert model(do="shared")["whole"].tolist() == np.arange(32).reshape(4, 8).tolist()
        assert model(do="slice", x=array)["flat"].tolist() == [1.5] * 4
        text = np.array(["🦐", "", "é"])
        assert model(do="echo", x=text)["x"].tolist() == text.tolist()
        assert model(do="echo", x={"a": [1, "🦐", b"\0", None]})["x"] == {"a": [1, "🦐", b"\0", None]}
        assert model(do="echo", x=np.array([b"ab", b"c"]))["x"].tolist() == [b"ab", b"c"]
        with pytest.raises(ModelError, match="outer reason: 3") as caught:
            model(do="raise", x=3)
        assert "KeyError: 'the inner reason'" in caught.value.remote_traceback
        assert len(model(do="many_outputs", x=500)) == 500
        assert model.stats().bytes_copied_in > 0
    with isopod.load(models / "keepers.py:Keeper", env=env, timeout=120) as model:
        model(do="keep", way="attribute", x=np.ones(100))
        for _ in range(5):
            model(x=np.zeros(100))
        assert model(do="returned")["returned"] == 0  # what nobody keeps is dead when its call ends
        assert model()["values"].sum() == 100
    with isopod.load(models / "deaths.py:Dying", env=env) as model:
        with pytest.raises(WorkerCrashed, match="SIGSEGV") as crash:
            model(way="sigsegv")
        assert "in_call" in str(crash.value)
        assert model(x=1)["y"] == 2
