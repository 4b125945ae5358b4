"""The errors by which a caller hears of a worker's death, a model's exception, or a deadline."""

from __future__ import annotations

import os
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from isopod.ipc import record as records
from isopod.ipc.errors import (
    ArenaFull,
    Closed,
    IsopodError,
    ModelError,
    ProtocolError,
    SandboxUnavailable,
    SpecError,
    WorkerCrashed,
    WorkerTimeout,
    WorkerUnavailable,
)
from isopod.ipc.tensor import name_of as dtype_name
from isopod.runtime.oom import Finding
from isopod.runtime.process import APPLICATION_ENDED, CLOSED, FAREWELLS
from isopod.runtime.report import CrashReport, RunningCall, tidy_stacks
from isopod.runtime.terminal import clean

if TYPE_CHECKING:
    from isopod.runtime.calls import Call


def crash_error(report: CrashReport) -> WorkerCrashed:
    error = WorkerCrashed(str(report))
    error.report = report
    return error


def report_of(session: Any, status: int | None, peak_rss: int, memory: Finding) -> CrashReport:
    """What is known of a session's worker at the moment of its death. The lock of its calls is held."""
    running = _running(session)
    return CrashReport(
        model=session.name,
        pid=session.process.pid,
        status=status,
        phase=session.life.state,
        reason=session.process.end_reason,
        uptime=session.life.uptime,
        calls=session.answered,
        waiting_calls=max(0, len(session.flight.sent) - 1) + len(session.flight.backlog),
        call=running,
        stderr=tuple(session.watch.stderr.tail),
        stdout=tuple(session.watch.stdout.tail),
        stacks=tidy_stacks(session.watch.faults.text),
        peak_rss=peak_rss,
        oom=memory.text,
        oom_killed=memory.killed,
        earlier=session.history.deaths,
        replica=session.replica,
        python=session.origin.python,
        interpreter=session.origin.interpreter,
        environment=session.origin.environment,
        time=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        application=os.getpid(),
    )


def poison_error(error: BaseException | None, attempts: int) -> WorkerCrashed:
    """For a call that has killed each worker it was given to."""
    report = getattr(error, "report", None)
    who = f"model {report.model!r}: " if isinstance(report, CrashReport) else ""
    poisoned = WorkerCrashed(
        f"{who}this call has killed {attempts} workers, one after the other, so it is not tried again\n{error}"
    )
    poisoned.report = report
    return poisoned


def start_error(session: Any, target: str, load_timeout: float) -> IsopodError:
    """Why a worker that has ended never became ready, by whose fault it is."""
    report: CrashReport = session.report
    if session.load_failure is not None:
        try:
            return load_error(session.name, target, *session.load_failure)
        except ProtocolError as error:
            return error
    if session.overdue:
        return timeout_error(session.name, load_timeout, "loading it", report)
    if report.phase == "draining" or report.reason in (CLOSED, APPLICATION_ENDED):
        return Closed(f"model {session.name!r} was closed while it was loaded: {report.cause}")
    return crash_error(report)


def open_error(model: str, reason: str, cooldown: float) -> WorkerUnavailable:
    """For a call that finds the circuit open."""
    return WorkerUnavailable(
        f"model {model!r} takes no calls for now: {reason}. A new worker is tried within {cooldown:g} s."
    )


def spawn_error(model: str, error: Exception) -> IsopodError:
    """Why there is no process at all."""
    if isinstance(error, IsopodError):
        return error
    unavailable = WorkerUnavailable(f"model {model!r}: no worker could be started: {error}")
    unavailable.__cause__ = error.with_traceback(None)  # whose frames hold the process
    return unavailable


def _running(session: Any) -> RunningCall | None:
    call = session.flight.running()
    if call is None:
        return None
    # It may have been in line for a while: the worker takes the next one when it has answered the one before.
    began = max(call.sent_ns, session.answered_ns)
    return RunningCall(call.id, (time.monotonic_ns() - began) / 1e9, _inputs(call))


def _inputs(call: Call) -> tuple[str, ...]:
    described = [f"{item.name} {dtype_name(item.dtype)} {item.shape}" for item in call.tensors]
    try:
        sent = records.decode(call.record)
    except ProtocolError:  # it was let go, since nobody wanted its answer any more
        return tuple(described)
    values = [] if sent.spilled else sent.plain.get("values", [])
    for position, name, _ in values:
        described.insert(position, name)
    return tuple(described)


def ended_error(report: CrashReport) -> IsopodError:
    """For a call or a load that was with a worker when that died: by a fault, or because its model was closed."""
    if report.reason in (CLOSED, APPLICATION_ENDED) and report.phase in ("starting", "loading"):
        return Closed(f"model {report.model!r} was closed while it was loaded: {report.cause}")
    if report.phase == "draining" and report.reason in FAREWELLS:
        return Closed(f"model {report.model!r} was closed while a call was in flight, or about to be: {report.cause}")
    return crash_error(report)


def timeout_error(model: str, timeout: float | None, what: str, report: CrashReport | None) -> WorkerTimeout:
    message = f"model {model!r}: {what} took longer than its deadline of {timeout or 0:g} s"
    if report is None:
        error = WorkerTimeout(message + "; the call had not been started, and the worker goes on with others")
    else:
        error = WorkerTimeout(f"{message}, so its worker was ended\n{report}")
    error.report = report
    return error


def overrun_error(model: str, timeout: float | None, overrun: float, raised: IsopodError | None) -> WorkerTimeout:
    """For a call that ended by itself, ``overrun`` seconds after its deadline. What it raised is the error's cause."""
    error = WorkerTimeout(
        f"model {model!r}: a call took longer than its deadline of {timeout or 0:g} s; the model stopped "
        f"{overrun:.3f} s after it, so what it answered was dropped, and its worker goes on"
    )
    error.__cause__ = raised
    return error


def left_behind_error(model: str, timeout: float | None) -> WorkerTimeout:
    """For a call whose time is over while its batch is computed for others, who have more."""
    return WorkerTimeout(
        f"model {model!r}: a call took longer than its deadline of {timeout or 0:g} s; it was run in one batch with "
        "others that may wait longer, so its answer is dropped, and its worker goes on"
    )


def failure_text(failure: Any) -> dict[str, str]:
    """The fields of a failure record that came from the child, without orders to the terminal that shows a traceback.

    Raises ``ProtocolError`` if they are not all text.
    """
    fields = ("type", "message", "traceback", "missing", "culprit")
    if type(failure) is not dict or any(type(failure.get(field)) is not str for field in fields):
        raise ProtocolError("a failure record has the wrong form")
    return {field: clean(failure[field]) for field in fields}


def model_error(model: str, failure: Any, doing: str) -> ModelError | SpecError:
    """A model's exception. Raises ``ProtocolError`` where the record of it is malformed."""
    text = failure_text(failure)
    if text["culprit"] == "input":
        return SpecError(f"model {model!r}: {text['message']}")
    if text["culprit"] == "output":
        return ModelError(
            f"model {model!r} returned what cannot be sent: {text['message']}", text["type"], text["message"]
        )
    summary = f"model {model!r} raised {text['type']} {doing}: {text['message']}"
    remedy = ""
    if text["missing"]:
        remedy = f"\nAdd the package that provides {text['missing']!r} to the requirements of its environment."
    return ModelError(
        f"{summary}{remedy}\n\nTraceback in the worker:\n{text['traceback'].rstrip()}",
        type_name=text["type"],
        remote_message=text["message"],
        remote_traceback=text["traceback"],
    )


def arena_error(model: str, failure: Any) -> ArenaFull:
    text = failure_text(failure)
    return ArenaFull(f"model {model!r} has no room for its outputs: {text['message']}")


def load_error(model: str, target: str, culprit: str, failure: Any) -> IsopodError:
    """Why a model could not be loaded, by whose fault it is."""
    text = failure_text(failure)
    if culprit == "seen":
        return SandboxUnavailable(text["message"])
    if culprit == "sandbox":
        return SandboxUnavailable(f"model {model!r} cannot have the sandbox that was asked for: {text['message']}")
    if culprit == "caller":
        return SpecError(f"model {model!r} cannot be loaded from {target}: {text['message']}")
    if culprit == "environment":
        return SpecError(
            f"model {model!r}: its environment has no working numpy, which every worker needs ({text['message']}); "
            "add numpy to its requirements"
        )
    return model_error(model, failure, f"while it was loaded from {target}")
