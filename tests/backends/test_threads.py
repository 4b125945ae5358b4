"""Thread counts as the frameworks have them in the worker, not as they were asked for: their pools are counted."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends.environments import environment
from backends.files import write
from backends.kinds import KINDS
from waits import lasting_threads

import isopod

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(900)]

X = np.ones((2, 3), np.float32)
BLAS = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1"
)  # numpy's, so that only a framework's are counted


@pytest.mark.full
@pytest.mark.parametrize("kind", [one for one in KINDS if one.env.startswith("tensorflow")], ids=lambda kind: kind.id)
def test_tensorflow_has_the_threads_of_both_kinds(kind: Any, tmp_path: Path) -> None:
    """Within an operation and between them, for SavedModels, graphs and Keras, in TensorFlow 1.15 and 2."""
    path = kind.write(tmp_path)
    env = environment(kind.env)
    env = dataclasses.replace(env, variables={**env.variables, **BLAS})
    found = {}
    for threads in (isopod.Threads(1, 1), isopod.Threads(4, 1), isopod.Threads(1, 3), isopod.Threads(4, 3)):
        with isopod.load(path, env=env, threads=threads, name="m", timeout=120, **kind.options) as model:
            model({kind.given: X})
            found[threads.within, threads.between] = lasting_threads(model.health.pid)
    more = [found[4, 1] - found[1, 1], found[4, 3] - found[1, 3], found[1, 3] - found[1, 1], found[4, 3] - found[4, 1]]
    if kind.env.endswith("1.15.5"):  # which makes a second pool of either kind for some sessions
        assert all(seen >= expected for seen, expected in zip(more, (3, 3, 2, 2), strict=True)), more
    else:
        assert more == [3, 3, 2, 2]


def test_scikit_learn_has_those_of_openmp_and_blas(tmp_path: Path) -> None:
    env = environment("scikit-learn 1.9.1")
    write(tmp_path, "sklearn", "scikit-learn 1.9.1", [("threads", "threads.pkl")])
    for threads in (1, 2):
        with isopod.load(tmp_path / "threads.pkl", env=env, threads=threads) as model:
            assert model(X=X)["predict"].tolist() == [threads, threads]
    with isopod.load(tmp_path / "threads.pkl", env=dataclasses.replace(env, threads=1)) as model:
        assert model(X=X)["predict"].tolist() == [1, 1]
