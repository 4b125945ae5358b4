"""Writes docs/lifecycle.md and docs/phases.md from the tables that the code runs, so that they are never stale.

    python tools/diagrams.py        (make fix does it, too)

Four machines: a worker, the circuit of a model, the control protocol, and the talk with a template. Each becomes a
mermaid state diagram, which GitHub and most editors draw, and the same as a table. The phases of a call are a table.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from isopod.ipc import protocol
from isopod.runtime import circuit, lifecycle
from isopod.runtime.observe import phases

DOCS = Path(__file__).resolve().parent.parent / "docs"

_OPENING = """\
# What may follow what

Made by `tools/diagrams.py` from the tables that the code runs: change those, then `make fix`.
"""


_PHASES = """\
# Where the time of a call goes

Made by `tools/diagrams.py` from the table in `runtime/observe/phases.py`: change that, then `make fix`.

Application and worker share a clock (`CLOCK_MONOTONIC`), and each call leaves marks on its way. Its phases are what
lies between them, one after the other, so they add up to what the caller waited. A worker that lies about time can move
its own phases to and fro between the moment in which the call was sent and the one in which its answer was heard, and
nothing else.

{table}
*Side*: who works at it; "both" is on the way between them.

- `model.stats().phases` has the median and the p99 of each, over the latest calls.
- `isopod bench` prints them beside what the call costs in process, by size, paced, and from several callers. Its
  columns are means over the middle half of the calls, which add up, as medians of phases do not.
- `isopod trace`, or `with isopod.trace("trace.json")`, shows them call by call on a timeline in
  [Perfetto](https://ui.perfetto.dev).
"""


_BOTH = """\
What the control protocol and the talk with a template are made of: `FORMS` in `ipc/protocol.py`."""


class Machine(NamedTuple):
    """A table of transitions, where it begins, and what is said about it. ``event`` is what its events are called."""

    title: str
    text: str
    table: dict[tuple[str, str], str]
    start: str
    event: str = "event"


MACHINES = (
    Machine(
        "A worker",
        """\
Where one worker process stands, from its spawn to its death: `TRANSITIONS` in `runtime/lifecycle.py`. What
`model.health` says is read from it at the moment of asking, so a dead worker is never called ready.""",
        lifecycle.TRANSITIONS,
        lifecycle.STARTING,
    ),
    Machine(
        "The circuit of a model",
        """\
Whether dead workers are replaced: `TRANSITIONS` in `runtime/circuit.py`. Too many deaths within a while trip it; calls
then fail at once with the reason, until a worker that is started after a pause is ready.""",
        circuit.TRANSITIONS,
        circuit.CLOSED,
    ),
    Machine(
        "The control protocol",
        """\
What application and worker say to each other beside the calls, over one socket: `TRANSITIONS` in `ipc/protocol.py`.
What is not allowed in a state raises `ProtocolError` and changes nothing, and the worker ends.""",
        protocol.TRANSITIONS,
        protocol.START,
        "message",
    ),
    Machine(
        "The talk with a template",
        """\
What an application says to a process that forks its workers (`start="fork-template"`), and hears from it:
`TEMPLATE_TRANSITIONS` in `ipc/protocol.py`.""",
        protocol.TEMPLATE_TRANSITIONS,
        protocol.START,
        "message",
    ),
)


def document() -> str:
    """The whole page."""
    return "\n".join([_OPENING, *map(_section, MACHINES), _messages()])


def _section(machine: Machine) -> str:
    return f"## {machine.title}\n\n{machine.text}\n\n{_diagram(machine)}\n{_transitions(machine)}"


def _diagram(machine: Machine) -> str:
    """Events that lead from one state to the same next one share an arrow."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for (state, event), following in machine.table.items():
        arrows.setdefault((state, following), []).append(event)
    lines = [f"[*] --> {machine.start}"]
    lines += [f"{state} --> {following}: {', '.join(events)}" for (state, following), events in arrows.items()]
    left = {state for state, following in arrows if state != following}
    ends = dict.fromkeys(following for _, following in arrows if following not in left)
    lines += [f"{state} --> [*]" for state in ends]
    body = "".join(f"    {line}\n" for line in lines)
    return f"```mermaid\nstateDiagram-v2\n{body}```\n"


def _transitions(machine: Machine) -> str:
    says = {name: form.sender for name, form in protocol.FORMS.items()} if machine.table is protocol.TRANSITIONS else {}
    head = ("state", machine.event, *(("sent by",) if says else ()), "next")
    rows = [
        (state, event, *((says[event],) if says else ()), following)
        for (state, event), following in machine.table.items()
    ]
    return _table(head, rows)


def _messages() -> str:
    rows = []
    for name, form in protocol.FORMS.items():
        fields = ", ".join(f"{field}: {kind.__name__}" for field, kind in form.fields.items())
        rows.append((name, form.sender, fields, str(form.descriptors or "")))
    return f"## The messages of both\n\n{_BOTH}\n\n" + _table(("message", "sent by", "fields", "descriptors"), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join("|" + "".join(f" {cell} |" if cell else " |" for cell in cells) + "\n" for cells in lines)


def phases_document() -> str:
    """The page about the phases of a call."""
    rows = [(phases.label(phase.name), phase.side, phase.text) for phase in phases.PHASES]
    return _PHASES.format(table=_table(("phase", "side", "what it is"), rows))


def main() -> None:
    DOCS.mkdir(exist_ok=True)
    (DOCS / "lifecycle.md").write_text(document(), encoding="utf-8")
    (DOCS / "phases.md").write_text(phases_document(), encoding="utf-8")


if __name__ == "__main__":
    main()
