"""A hostile child against the parent's decoder and protocol, and a hostile parent against the child's.

By hypothesis everywhere; by atheris, which follows the branches that its bytes take, where it is installed.
"""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import strategies  # noqa: F401  (the profile)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.targets import MEMORY_LIMIT, TARGETS, Wire, hit, measured, seeds
from isopod.ipc import plain

HERE = Path(__file__).resolve().parent
MOST = 6 * MEMORY_LIMIT  # bytes: text of one letter takes several times its packed size
GUIDED_RUNS = 20_000


@pytest.fixture(scope="module")
def wire(_supervisor_at_rest: None) -> Iterator[Wire]:
    made = Wire()
    yield made
    made.close()


@st.composite
def damaged(draw: st.DrawFn, name: str) -> bytes:
    """An honest message with bytes changed, cut out, or put in."""
    data = bytearray(draw(st.sampled_from(seeds(name))))
    for _ in range(draw(st.integers(0, 6))):
        if not data:
            break
        at = draw(st.integers(0, len(data) - 1))
        how = draw(st.sampled_from(["set", "word", "cut", "put"]))
        if how == "set":
            data[at] = draw(st.integers(0, 255))
        elif how == "word":
            data[at : at + 8] = draw(st.sampled_from([0, 1, 2**31, 2**63 - 1, 2**64 - 1])).to_bytes(8, "little")
        elif how == "cut":
            del data[at : at + draw(st.integers(1, 16))]
        else:
            data[at:at] = draw(st.binary(max_size=16))
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
def test_honest_bytes_are_taken(name: str, wire: Wire) -> None:
    """Or else the fuzzer would knock at a closed door."""
    taken = 0
    for data in seeds(name):
        try:
            TARGETS[name](wire, data)
            taken += 1
        except Exception:  # counted: not each seed is good for each target
            continue
    assert taken >= len(seeds(name)) // 2


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_the_bytes_are_only_a_protocol_error_comes_out(name: str, wire: Wire, data: st.DataObject) -> None:
    hit(name, wire, data.draw(damaged(name) | st.binary(max_size=600)))


@pytest.mark.parametrize("name", TARGETS)
def test_memory_stays_bounded(name: str, wire: Wire) -> None:
    """For what claims much in few bytes, and for a lot of damaged messages."""
    chance = random.Random(11)
    bombs = [
        b"\x09" + (0xFF05).to_bytes(4, "little") + b"\xdd\x00\x00\xff\x00" + b"\x80" * 0xFF00,
        b"\x09" + (0xFFFF).to_bytes(4, "little") + b"\x91" * 0xFFFF,
        b"\x09" + b"\xff\xff\xff\x7f" + b"\xc0" * 1000,
        b"\x09" + (9).to_bytes(4, "little") + b"\x92\xa1a\xdd\xff\xff\xff\xff\xc0",
        seeds("parent_record")[0][:8] + b"\xff" * 200,
    ]
    for data in [*bombs, *seeds(name)]:
        assert measured(name, wire, data) < MOST
    for _ in range(50):
        changed = bytearray(chance.choice(seeds(name)))
        for _ in range(4):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        assert measured(name, wire, bytes(changed)) < MOST


def test_a_megabyte_of_empty_maps_is_refused() -> None:
    with pytest.raises(Exception, match=r"malformed|too long"):
        plain.unpack(b"\xdd\x00\x10\x00\x00" + b"\x80" * (1 << 20))


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_guided_by_the_branches_that_are_taken(name: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("there is no atheris for this machine and this Python")
    for number, data in enumerate(seeds(name)):
        (tmp_path / f"seed-{number}").write_bytes(data)
    command = [sys.executable, str(HERE / "guided.py"), name, str(tmp_path), f"-runs={GUIDED_RUNS}", "-max_len=4096"]
    command += ["-rss_limit_mb=1500", f"-artifact_prefix={tmp_path}/", "-seed=1"]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(HERE.parent)}, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert f"Done {GUIDED_RUNS} runs" in done.stderr
