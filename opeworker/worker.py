"""The life of a worker, from a clean process to the last answer. The order of its steps is what makes it safe.

Hold on to the parent; say hello and map what is shared; start listening; send what is logged; become the model's
environment; load the model; serve; let it close; say bye. Numpy is imported only once the environment is active, and
with it whatever of ``ipc`` needs it.
"""

from __future__ import annotations

import os
import time
from typing import Any

# Everything of the standard library that may ever be needed is imported here, before a model's folder is on the path.
from isopod.ipc.errors import ProtocolError, SpecError
from isopod.opeworker import backends, context, failure, guard, logs, stdio
from isopod.opeworker.activate import activate
from isopod.opeworker.link import Link

__all__ = ["context", "run"]

LOAD_FAILED, BROKEN = 120, 121  # exit codes of ours, explained by name in a crash report


def run(control: int, parent: int, lifeline: int) -> None:
    """Everything that this process does. Ends the process."""
    started = time.monotonic_ns()
    stdio.line_buffer()
    guard.hold(parent, lifeline)
    code = BROKEN
    try:
        link = Link(control)
        code = _live(link, started)
    except BaseException as error:  # goes to stderr, and from there into the crash report; the parent sees the exit
        failure.excepthook_lines(error)
    stdio.flush()
    # Not sys.exit: threads of the model, atexit handlers and destructors of frameworks may hang or crash by now.
    os._exit(code)


def _live(link: Link, started: int) -> int:
    order = link.connect()
    link.listen()
    logs.install(link.outgoing, order.fields["log_level"])
    guard.name_process(order.fields["name"])
    attached = time.monotonic_ns()
    try:
        server, model, timings = _load(link, order.fields)
    except SpecError as error:
        return _fail(link, "caller", error)
    except _NoNumpy as error:
        return _fail(link, "environment", error.__cause__ or error)
    except BaseException as error:  # goes to the caller of load(), as ModelError; SystemExit too
        return _fail(link, "model", error)
    timings["attach"] = (attached - started) / 1e9
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=link.abandon)
        os.register_at_fork(after_in_child=server.let_go_after_fork)
    inputs, outputs = ([spec.fields() for spec in specs] for specs in (model.inputs, model.outputs))
    link.send("ready", inputs=inputs, outputs=outputs, open=model.open, timings=timings)
    server.serve(model)
    try:
        model.close()
    except BaseException as error:  # goes to stderr, and so to the log: the model is done, nobody waits for it
        failure.excepthook_lines(error)
    link.send("bye")
    return 0


class _NoNumpy(Exception):
    """The environment has no working numpy, which every model's worker needs."""


def _load(link: Link, order: dict[str, Any]) -> tuple[Any, Any, dict[str, float]]:
    began = time.monotonic_ns()
    target = order["target"]
    if not isinstance(target.get("attribute"), str):
        raise ProtocolError("the target of a load message has the wrong form")
    activate(order["environment"], str(target.get("folder") or ""))
    active = time.monotonic_ns()
    try:
        from isopod.opeworker.serve import Server
    except ImportError as error:
        raise _NoNumpy from error
    imported = time.monotonic_ns()
    server = Server(link, order["memory_limit"])
    where = order["environment"]
    wanted = backends.Order(target, order["arguments"], where["threads"], str(where.get("device") or ""))
    model = backends.load(wanted)
    loaded = time.monotonic_ns()
    timings = {"activate": active - began, "numpy": imported - active, "load": loaded - imported}
    return server, model, {name: value / 1e9 for name, value in timings.items()}


def _fail(link: Link, culprit: str, error: BaseException) -> int:
    link.send("failed", culprit=culprit, error=failure.describe(error))
    return LOAD_FAILED
