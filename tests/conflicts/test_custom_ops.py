"""One source of a C++ operator, compiled for two versions of its framework: one application calls both.

And the proof that it needs two environments: the linker finds nothing that fits in the other version, so neither
library loads there. Each that fails is one that works in its own environment.
"""

from __future__ import annotations

import contextlib
import re
from typing import Any

import numpy as np
import pytest
from conflicts.environments import ENVIRONMENTS, had
from conflicts.ops import FAMILIES, Family, compiled

import isopod

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(900)]

TORCH, TENSORFLOW = FAMILIES
Pair = tuple[tuple[Family, str], tuple[Family, str]]
PAIRS: list[Pair] = [
    ((TORCH, "1.12.1"), (TORCH, "2.13.0")),
    ((TENSORFLOW, "2.12.1"), (TENSORFLOW, "2.15.1")),
    ((TENSORFLOW, "2.12.1"), (TORCH, "2.13.0")),  # no environment holds both: test_one_environment.py
]

each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


def load(family: Family, op: str, version: str) -> isopod.Model:
    """The operator that was compiled for version ``op``, in an environment of ``version``."""
    library = str(compiled(family, op))
    env = ENVIRONMENTS[f"{family.name} {version}"]
    name = f"{family.name} {version}"
    return isopod.load(f"{family.model}:Smooth", env=env, args={"library": library}, name=name)


def smooth(series: Any, keep: float) -> Any:
    out = series.astype(np.float64)
    for step in range(1, out.shape[1]):
        out[:, step] = keep * out[:, step - 1] + (1 - keep) * out[:, step]
    return out


@pytest.mark.parametrize("pair", PAIRS, ids=[f"{one[0].name}, {other[0].name}" for one, other in PAIRS])
def test_one_application_calls_both(pair: Pair) -> None:
    series = np.random.default_rng(0).standard_normal((64, 1000)).astype(np.float32)
    with contextlib.ExitStack() as stack:
        models = [stack.enter_context(load(family, version, version)) for family, version in pair]
        for keep in (0.0, 0.5, 0.9):
            futures = [model.submit(series=series, keep=keep) for model in models]  # both compute at the same time
            for future, (_, version) in zip(futures, pair, strict=True):
                answer = future.result(60)
                np.testing.assert_allclose(answer["smoothed"], smooth(series, keep), rtol=1e-4, atol=1e-6)
                assert answer["built_for"] == version
        for model in models:  # an error out of the C++ of either is the caller's, and the next call works
            with pytest.raises(isopod.ModelError, match=r"smooth wants \(series, steps\), not 1 dimensions"):
                model(series=series[0], keep=0.5)
            assert model(series=series[:, :1], keep=0.5)["smoothed"].tolist() == series[:, :1].tolist()
            assert model.stats().crashes == 0


@each_family
@pytest.mark.parametrize("turned", [False, True], ids=["old in new", "new in old"])
def test_neither_loads_in_the_others_environment(family: Family, turned: bool) -> None:
    op, version = reversed(family.versions) if turned else family.versions
    had(f"{family.name} {version}")
    with pytest.raises(isopod.ModelError) as caught:
        load(family, op, version).close()
    assert caught.value.type_name == family.error
    missing = re.search(r"(\S+): undefined symbol: (\w+)", caught.value.remote_traceback)
    assert missing is not None, str(caught.value)
    assert missing[1] == str(compiled(family, op)), "it is the operator that lacks it, not a part of the framework"
    assert any(namespace in missing[2] for namespace in family.namespaces), missing[0]
