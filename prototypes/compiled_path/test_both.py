"""Compiled and pure side by side: the same bytes, the same errors, each end of a ring with the other, and real calls.

``check.py`` runs it, beside the product's own tests of rings, records and transfers with the compiled ones in place.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import measure
import put
import pytest
import strategies
from build import Unavailable, build
from hypothesis import given
from hypothesis import strategies as st

from isopod.ipc import layout, record, ring
from isopod.ipc.doorbell import ChildDoorbell, ParentDoorbell
from isopod.ipc.layout import Layout
from isopod.ipc.segment import Segment

SHAPE = Layout(slots=4, slot_size=128, returns=8)
PATH = os.environ["PROTOTYPE_CHECKED"]
compiled = put.load(PATH)
pure_encode, pure_decode = record.encode, record.decode
FORMS = {"pure": ring, "compiled": compiled}
STAMPS = st.tuples(*[strategies.u64] * 5)
EXTRAS = st.dictionaries(strategies.any_text, strategies.scalars, max_size=4)
TENSORS = st.lists(strategies.wire_tensors, max_size=6)


def outcome(call: Any, *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except Exception as error:  # is compared
        return type(error), str(error)


@given(st.integers(-1, 300), st.integers(-1, 2**64), STAMPS, TENSORS, EXTRAS, st.integers(-1, 256))
def test_the_same_bytes_and_the_same_refusals(
    kind: int, call: int, stamps: Any, tensors: Any, extra: Any, flags: int
) -> None:
    fields = (kind, call, stamps, tensors, extra, flags)
    for _ in range(2):  # the second time, the tensors are known
        assert outcome(compiled.encode, *fields) == outcome(pure_encode, *fields)


@given(TENSORS, EXTRAS, st.data())
def test_damaged_records_have_the_same_outcome(tensors: Any, extra: Any, data: st.DataObject) -> None:
    damaged = bytearray(pure_encode(record.CALL, 7, (1, 2, 3, 4, 5), tensors, extra))
    assert compiled.decode(bytes(damaged)) == pure_decode(bytes(damaged))
    for _ in range(data.draw(st.integers(0, 5))):
        damaged[data.draw(st.integers(0, min(len(damaged), 120) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    for received in (bytes(damaged), cut):
        assert outcome(compiled.decode, received) == outcome(pure_decode, received)


@given(st.binary(max_size=400))
def test_any_bytes_have_the_same_outcome(data: bytes) -> None:
    assert outcome(compiled.decode, data) == outcome(pure_decode, data)


def test_ctrl_c_in_the_middle_is_not_an_unsound_record(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: bytes) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(record.plain, "unpack", interrupted)
    module = put.load(PATH)
    with pytest.raises(KeyboardInterrupt):
        module.decode(pure_encode(record.CALL, 7, (1, 2, 3, 4, 5), [], {"a": 1}))


@pytest.mark.parametrize(("writes", "reads"), [("pure", "compiled"), ("compiled", "pure"), ("compiled", "compiled")])
@given(data=st.data())
def test_each_end_of_a_ring_with_the_other(writes: str, reads: str, data: st.DataObject) -> None:
    mine, its = Segment.create(SHAPE.size), Segment.create(SHAPE.size)
    with contextlib.closing(mine), contextlib.closing(its):
        writer, reader = FORMS[writes].RecordWriter(mine, SHAPE), FORMS[reads].RecordReader(mine, SHAPE)
        for _ in range(data.draw(st.integers(0, 12))):
            sent = data.draw(st.lists(st.binary(max_size=SHAPE.payload), max_size=SHAPE.slots))
            for each in sent:
                writer.write(each)
            assert [reader.read() for _ in range(len(sent) + 1)] == [*sent, None]
        giving, taking = FORMS[writes].ReturnWriter(its, SHAPE, mine), FORMS[reads].ReturnReader(its, SHAPE, mine)
        for number in range(data.draw(st.integers(0, 40))):
            giving.waiting.append((layout.MAX_SEGMENTS - 1, 2**32 - 1 - number))
            assert giving.flush()
            assert taking.ready()
            assert list(taking.take()) == [(layout.MAX_SEGMENTS - 1, 2**32 - 1 - number)]
        for cursor in (2**64 - 1, 2**63):  # garbled by the other side
            struct.pack_into("<Q", mine.map, layout.CURSOR_OFFSET, cursor)
            giving.waiting.append((1, 1))
            assert giving.flush()


def test_a_wait_ends_by_a_ring_a_deadline_and_a_ring_without_a_record() -> None:
    segment, bell = Segment.create(SHAPE.size), ParentDoorbell()
    with contextlib.closing(segment), contextlib.closing(bell):
        other = ChildDoorbell(os.dup(bell.fd))
        reader = compiled.RecordReader(segment, SHAPE)
        reader.listen(ctypes.addressof(other._post.args[0]._obj), 60 * 10**9, 10**6)
        writer = ring.RecordWriter(segment, SHAPE)

        def send() -> None:
            writer.write(b"one")
            bell.ring()

        thread = threading.Thread(target=send)
        thread.start()
        assert reader.receive() == b"one"
        thread.join()
        deadline = time.monotonic_ns() + 5_000_000
        assert reader.receive(deadline) is None
        assert time.monotonic_ns() >= deadline
        bell.ring()
        assert reader.receive() is None
        assert reader.empty_rings == 1
        writer.write(b"two")  # RACE lost ring
        assert reader.receive() == b"two"
        with pytest.raises(KeyboardInterrupt), interrupted_soon():
            reader.receive()
        writer.write(b"three")
        bell.ring()
        assert reader.receive() == b"three"


@contextlib.contextmanager
def interrupted_soon() -> Iterator[None]:
    def handler(*_: Any) -> None:
        raise KeyboardInterrupt

    main = threading.get_ident()
    before = signal.signal(signal.SIGUSR1, handler)
    knock = threading.Thread(target=lambda: signal.pthread_kill(main, signal.SIGUSR1))
    try:
        knock.start()
        yield
    finally:
        knock.join()
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("caller", ["pure", "compiled"])
@pytest.mark.parametrize("worker", ["pure", "compiled"])
def test_a_caller_and_a_worker_of_any_two_kinds(caller: str, worker: str) -> None:
    paths = {"pure": "", "compiled": PATH}
    core = min(os.sched_getaffinity(0))
    with measure.driver(core, core, paths[caller], paths[worker]) as made:
        assert len(made.ask("1 KB 50")) == 50
        assert len(made.ask("100 tensors 20")) == 20
        assert made.process.stdin is not None
        made.process.stdin.close()


_LOADED = """
import sys, types
package = types.ModuleType("isopod"); package.__path__ = []
ipc = types.ModuleType("isopod.ipc"); ipc.__path__ = [sys.argv[3]]
sys.modules["isopod"], sys.modules["isopod.ipc"] = package, ipc
sys.path.insert(0, sys.argv[2])
import put
from isopod.ipc import record, ring
from isopod.ipc.layout import Layout
from isopod.ipc.segment import Segment
module = put.load(sys.argv[1])
tensor = record.Tensor("x", 11, (2,), 1, 4, 256, 8)
for made in (record.encode(1, 7, (1, 2, 3, 4, 5), [tensor], {"a": 1}), b"", b"x" * 60):
    outcomes = []
    for decode in (module.decode, record.decode):
        try:
            outcomes.append(repr(decode(made)))
        except Exception as error:
            outcomes.append(repr(error))
    assert outcomes[0] == outcomes[1], outcomes
shape = Layout()
segment = Segment.create(shape.size)
writer, reader = module.RecordWriter(segment, shape), ring.RecordReader(segment, shape)
for number in range(1000):
    writer.write(b"%d" % number)
    assert reader.read() == b"%d" % number
print("works")
"""


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.10", "3.11", "3.12", "3.13"])
def test_one_binary_for_all_pythons(version: str) -> None:
    found = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    if not found:
        pytest.skip(f"no Python {version} in ~/.pyenv/versions")
    here = Path(put.__file__).parent
    ipc = str(Path(record.__file__).parent)
    command = [found[0], "-I", "-S", "-c", _LOADED, PATH, str(here), ipc]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "works\n", done.stderr


def test_without_a_compiler_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="no C compiler"):
        build(tmp_path)
