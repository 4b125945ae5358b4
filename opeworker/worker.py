"""The life of a worker, from a clean process to the last answer. The order of its steps is what makes it safe.

Hold on to the parent; say hello and map what is shared; lock, and wait until the parent has seen that it holds; start
listening; send what is logged; become the model's environment; load the model; serve; let it close; say bye. Until the
lock there is one thread. Numpy is imported only once the environment is active, and with it whatever of ``ipc`` needs
it.
"""

from __future__ import annotations

import os
from typing import Any, List

# Everything of the standard library that may ever be needed is imported here, before a model's folder is on the path.
from isopod.ipc.errors import ProtocolError, SpecError
from isopod.opeworker import backends, context, failure, logs, stdio
from isopod.opeworker.activate import activate, add_folder
from isopod.opeworker.guard import hold, limits
from isopod.opeworker.guard.lock import lock
from isopod.opeworker.guard.native import Unavailable
from isopod.opeworker.laps import Laps
from isopod.opeworker.link import Link

__all__ = ["context", "hold", "limits", "run"]

LOAD_FAILED, BROKEN = 120, 121  # exit codes of ours, explained by name in a crash report


def run(control: int, lifeline: int, own: List[str], began: int) -> None:
    """Everything that this process does. Ends the process.

    ``own`` are the folders of our two packages; ``began`` is when it came to its first line.
    """
    laps = Laps(began)
    laps.lap("import")
    stdio.line_buffer()
    hold.hold(lifeline)
    code = BROKEN
    try:
        link = Link(control)
        code = _live(link, laps, own, lifeline)
    except BaseException as error:  # goes to stderr, and from there into the crash report; the parent sees the exit
        failure.excepthook_lines(error)
    stdio.flush()
    # Not sys.exit: threads of the model, atexit handlers and destructors of frameworks may hang or crash by now.
    os._exit(code)


def _live(link: Link, laps: Laps, own: List[str], lifeline: int) -> int:
    order = link.connect()
    laps.lap("hello", link.heard_ns)
    hold.name_process(order.fields["name"])
    laps.lap("attach")
    try:
        done = lock(order.fields, own, lifeline)
        link.process = os.getpid()  # another one than before, where the model may start processes
    except Unavailable as error:
        return _fail(link, "sandbox", error)
    link.send("guarded", done=done)
    link.await_proceed()  # the application looks for itself, and no code of the model runs before it has
    laps.lap("lock")
    link.listen()
    logs.install(link.outgoing, order.fields["log_level"])
    try:
        server, model = _load(link, order.fields, laps)
    except SpecError as error:
        return _fail(link, "caller", error)
    except _NoNumpy as error:
        return _fail(link, "environment", error.__cause__ or error)
    except BaseException as error:  # goes to the caller of load(), as ModelError; SystemExit too
        return _fail(link, "model", error)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=link.abandon)
        os.register_at_fork(after_in_child=server.let_go_after_fork)
    inputs, outputs = ([spec.fields() for spec in specs] for specs in (model.inputs, model.outputs))
    link.send("ready", inputs=inputs, outputs=outputs, open=model.open, timings=laps.seconds)
    server.serve(model)
    try:
        model.close()
    except BaseException as error:  # goes to stderr, and so to the log: the model is done, nobody waits for it
        failure.excepthook_lines(error)
    link.send("bye")
    return 0


class _NoNumpy(Exception):
    """The environment has no working numpy, which every model's worker needs."""


def _load(link: Link, order: dict[str, Any], laps: Laps) -> tuple[Any, Any]:
    target = order["target"]
    if not isinstance(target.get("attribute"), str):
        raise ProtocolError("the target of a load message has the wrong form")
    activate(order["environment"])
    add_folder(str(target.get("folder") or ""))
    laps.lap("activate")
    try:
        from isopod.opeworker.serve import Server
    except ImportError as error:
        raise _NoNumpy from error
    server = Server(link, order["memory_limit"])
    laps.lap("numpy")
    where = order["environment"]
    device = str(where.get("device") or "")
    wanted = backends.Order(target, order["arguments"], where["threads"], device, lambda: laps.lap("module"))
    model: Any = backends.load(wanted)
    if target.get("timed"):
        from isopod.opeworker.timed import Timed

        model = Timed(model)
    laps.lap("construct")
    return server, model


def _fail(link: Link, culprit: str, error: BaseException) -> int:
    link.send("failed", culprit=culprit, error=failure.describe(error))
    return LOAD_FAILED
