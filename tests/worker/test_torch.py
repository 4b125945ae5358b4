"""Through a real framework: torch in the child looks at inputs, keeps them and returns views, and has its threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import isopod
from isopod import Env, EnvironmentBuildError, WorkerCrashed


def load(models: Path, **options: Any) -> isopod.Model:
    try:
        return isopod.load(models / "with_torch.py:Torch", env=Env(["torch==2.13.0", "numpy"]), **options)
    except EnvironmentBuildError as error:
        pytest.skip(f"torch 2.13.0 cannot be had here: {str(error).splitlines()[0]}")


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(900)
def test_torch_keeps_what_it_looks_at(models: Path) -> None:
    with load(models) as model:
        model(do="keep", x=np.full((3, 100), 5.0))
        for number in range(20):
            model(do="view", x=np.full((3, 100), float(number)))
            assert model(do="kept")["kept"].tolist() == [5.0] * 200
        assert model.stats().shared_bytes_used > 0
        model(do="let go")
        model(do="let go")
        assert model.stats().shared_bytes_used == 0
        array = model.empty("x", (3, 4), np.float32)
        array[:] = np.arange(12).reshape(3, 4)
        copied = model.stats().bytes_copied_in, model.stats().bytes_copied_out
        views = model(do="view", x=array)
        array += 1
        assert views["view"].tolist() == array[1:].tolist()
        assert views["dlpack"].tolist() == array[:1].tolist()
        assert (model.stats().bytes_copied_in, model.stats().bytes_copied_out) == copied


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(900)
def test_torch_that_writes_to_what_another_model_made_is_told_of_and_changes_nothing(models: Path) -> None:
    """numpy would refuse; Torch warns when it looks at such an array, and is stopped by the kernel when it writes."""
    with isopod.load(models / "chains.py:Stage") as stage, load(models) as model:
        y = stage(x=np.zeros((64, 64), np.float32))["y"]
        with pytest.raises(WorkerCrashed, match=r"(?s)SIGSEGV.*with_torch\.py.*not writable"):
            model(do="in place", x=y)
        assert (y == 1).all()
        assert (model(do="in place", x=y.copy())["y"] == 2).all()


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(900)
def test_torch_has_the_threads_that_were_asked_for(models: Path) -> None:
    with load(models, threads=isopod.Threads(within=3, between=2)) as model:
        assert dict(model(do="threads")) == {"within": 3, "between": 2}
