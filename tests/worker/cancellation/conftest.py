"""One worker for each module of tests that must leave it alive."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from waits import GUARD, until
from worker.cancellation.sampling import sampler

import isopod


@pytest.fixture(scope="module")
def shared(_supervisor_at_rest: None) -> Iterator[isopod.Model]:
    """One worker for the tests that must leave it alive; what grows with use is grown before their census."""
    with sampler() as model:
        model.submit(x=model.empty("x", 16 << 20, "uint8")).result(GUARD)
        until(lambda: model.stats().shared_bytes_used == 0)
        yield model


@pytest.fixture
def model(shared: isopod.Model) -> Iterator[isopod.Model]:
    """The shared worker: it is the same one afterwards, answers, and holds no memory."""
    before = shared()["pid"]
    yield shared
    assert shared()["pid"] == before
    until(lambda: shared.stats().shared_bytes_used == 0)
