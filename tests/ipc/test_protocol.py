"""The control protocol: every message as a golden file, every pair of state and message, and nothing half done."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isopod.ipc import plain, protocol
from isopod.ipc.errors import ProtocolError
from isopod.ipc.layout import MAX_FRAME
from isopod.ipc.protocol import (
    CHILD,
    FORMS,
    OVER,
    PARENT,
    START,
    TEMPLATE_TRANSITIONS,
    TRANSITIONS,
    Conversation,
    Message,
)

GOLDEN = Path(__file__).parent / "golden"
ERROR = {"type": "ValueError", "message": "no", "traceback": "", "missing": "", "culprit": "model"}
EXAMPLES: dict[str, dict[str, Any]] = {
    "hello": {"version": 1, "pid": 4711, "python": "3.7.16"},
    "attach": {"version": 1},
    "segment": {"index": 3, "outbox": True},
    "forget": {"index": 3},
    "trim": {},
    "shed": {"indices": [3, 4]},
    "load": {
        "name": "detector",
        "target": {"backend": "python", "file": "/models/detector.py", "folder": "/models", "attribute": "Detector"},
        "arguments": {"threshold": 0.5, "labels": ["cat", "dog"]},
        "environment": {"sites": ["/env/site-packages"], "prefix": "/env", "executable": "/env/bin/python"},
        "memory_limit": 4 << 30,
        "log_level": 20,
        "sandbox": {"profile": "limits", "limits": {"files": 4096}, "capabilities": [1], "readable": []},
    },
    "guarded": {"done": {"landlock": "version 7", "refused": ["to fork"]}},
    "proceed": {},
    "ready": {
        "inputs": [{"name": "image", "dtype": "float32", "shape": ["batch", None, 3], "required": True}],
        "outputs": [],
        "open": False,
        "timings": {"load": 0.25},
    },
    "failed": {"culprit": "model", "error": ERROR},
    "log": {
        "level": 30,
        "logger": "detector.io",
        "text": "slow: 3 s",
        "fields": {"seconds": 3.0},
        "path": "/models/detector.py",
        "line": 12,
        "function": "read",
        "call": 7,
        "lost": 0,
    },
    "grow": {"nbytes": 1 << 20},
    "refuse": {"nbytes": 1 << 20},
    "drain": {},
    "bye": {},
    "prepare": {"version": 1, "environment": {"sites": ["/env/site-packages"], "prefix": "/env", "threads": []}},
    "fork": {"modules": ["torch"], "file": "/models/detector.py", "cpus": [0, 1]},
    "forked": {"pid": 4712, "skipped": {"torch": "ImportError: no"}},
    "unfit": {"reason": "it has 3 threads"},
    "reap": {"pid": 4712},
}
Table = dict[tuple[str, str], str]
TABLES = {"worker": TRANSITIONS, "template": TEMPLATE_TRANSITIONS}
each_table = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)


def states_of(table: Table) -> list[str]:
    return sorted({state for state, _ in table} | set(table.values()))


STATES = states_of(TRANSITIONS)
PAIRS = [(table, state, name) for table in TABLES.values() for state in states_of(table) for name in FORMS]


def conversation(side: str, state: str, table: Table = TRANSITIONS) -> Conversation:
    made = Conversation(side, table)
    made.state = state
    return made


def say(side: str, state: str, name: str, table: Table = TRANSITIONS) -> tuple[Conversation, Any]:
    """A conversation in a state, and the way in which that message passes through it."""
    talk = conversation(side, state, table)
    message = Message(name, EXAMPLES[name])
    if FORMS[name].sender == side:
        return talk, lambda: talk.sending(message)
    return talk, lambda: talk.received(protocol.encode(message))


def test_there_is_a_golden_file_for_each_message() -> None:
    assert {path.stem for path in GOLDEN.glob("*.hex")} == set(FORMS) == set(EXAMPLES)


@pytest.mark.parametrize("name", FORMS)
def test_the_bytes_of_a_message_are_those_of_its_golden_file(name: str) -> None:
    """A difference here is a new version of the protocol, not a new golden file."""
    frame = bytes.fromhex((GOLDEN / f"{name}.hex").read_text())
    assert protocol.encode(Message(name, EXAMPLES[name])) == frame
    assert protocol.decode(frame) == Message(name, EXAMPLES[name])


@pytest.mark.parametrize("side", [CHILD, PARENT])
@pytest.mark.parametrize(("table", "state", "name"), PAIRS, ids=[f"{state}-{name}" for _, state, name in PAIRS])
def test_every_pair_of_state_and_message(table: Table, state: str, name: str, side: str) -> None:
    talk, pass_on = say(side, state, name, table)
    if (state, name) in table:
        pass_on()
        assert talk.state == table[state, name]
    else:
        with pytest.raises(ProtocolError, match=f"{FORMS[name].sender} sent '{name}' in state '{state}'"):
            pass_on()
        assert talk.state == state


@pytest.mark.parametrize(("name", "side"), list(itertools.product(FORMS, (CHILD, PARENT))))
def test_nobody_says_what_is_the_other_sides(name: str, side: str) -> None:
    states = [(state, table) for table in TABLES.values() for state, allowed in table if allowed == name]
    talk = conversation(side, *states[0])
    message = Message(name, EXAMPLES[name])
    spoken = talk.received if FORMS[name].sender == side else lambda frame: talk.sending(protocol.decode(frame))
    with pytest.raises(ProtocolError, match="is the other side's"):
        spoken(protocol.encode(message))
    assert talk.state == states[0][0]


def test_the_tables_name_all_messages() -> None:
    assert {name for table in TABLES.values() for _, name in table} == set(FORMS)


@each_table
def test_every_state_can_be_reached(table: Table) -> None:
    reached = {START}
    while more := {after for (state, _), after in table.items() if state in reached} - reached:
        reached |= more
    assert reached == set(states_of(table))


def test_what_is_over_stays_over() -> None:
    assert {after for (state, _), after in TRANSITIONS.items() if state == OVER} == {OVER}


def test_a_whole_life_passes_through_both_sides() -> None:
    path = [
        "hello",
        "attach",
        "segment",
        "load",
        "guarded",
        "proceed",
        "log",
        "grow",
        "segment",
        "ready",
        "log",
        "drain",
        "log",
        "bye",
    ]
    sides = {CHILD: Conversation(CHILD), PARENT: Conversation(PARENT)}
    for name in path:
        sender = FORMS[name].sender
        other = PARENT if sender == CHILD else CHILD
        frame = sides[sender].sending(Message(name, EXAMPLES[name]))
        assert sides[other].received(frame) == Message(name, EXAMPLES[name])
    assert {talk.state for talk in sides.values()} == {OVER}


@pytest.mark.parametrize(
    ("value", "fact"),
    [
        ("hello", "not a message"),
        (["hello"], "not a message"),
        (["hello", {}, 1], "not a message"),
        ([1, {}], "not a message"),
        (["hello", []], "not a message"),
        (["shutdown", {}], "no message 'shutdown'"),
        (["hello", {}], "wrong fields"),
        (["hello", {**EXAMPLES["hello"], "more": 1}], "wrong fields"),
        (["hello", {**EXAMPLES["hello"], "pid": "1"}], "'pid' of a 'hello' message is a str"),
        (["hello", {**EXAMPLES["hello"], "version": True}], "'version' of a 'hello' message is a bool"),
        (["segment", {"index": 1, "outbox": 1}], "'outbox' of a 'segment' message is a int"),
    ],
)
def test_malformed_messages_are_refused_and_change_nothing(value: Any, fact: str) -> None:
    talk = Conversation(PARENT)
    with pytest.raises(ProtocolError, match=fact):
        talk.received(plain.pack(value))
    assert talk.state == START
    assert talk.received(protocol.encode(Message("hello", EXAMPLES["hello"]))).name == "hello"


@given(st.binary(max_size=80))
def test_any_frame_is_a_message_or_a_protocol_error(frame: bytes) -> None:
    talk = Conversation(PARENT)
    try:
        talk.received(frame)
    except ProtocolError:
        assert talk.state == START


def test_a_message_that_is_too_long_is_refused_and_changes_nothing() -> None:
    talk = conversation(PARENT, "attached")
    fields = {**EXAMPLES["load"], "arguments": {"text": "x" * MAX_FRAME}}
    with pytest.raises(ProtocolError, match=r"'load' message of .* bytes is too long"):
        talk.sending(Message("load", fields))
    assert talk.state == "attached"
    talk.sending(Message("load", EXAMPLES["load"]))
