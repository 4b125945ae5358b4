"""Everything that isopod raises, by whose fault it is.

::

    IsopodError
    ├── SpecError (ValueError)              the caller: a wrong name, file, dtype, interpreter or requirement
    ├── Closed (RuntimeError)               the caller: the model was closed before
    ├── Overloaded (RuntimeError)           the callers: more calls wait for the model than it may have
    ├── ModelError (RuntimeError)           the model: it raised; the worker is healthy and the next call works
    ├── WorkerError
    │   ├── WorkerCrashed (RuntimeError)    the worker died; the next call starts a new one
    │   ├── WorkerTimeout (TimeoutError)    the deadline passed
    │   └── WorkerUnavailable (RuntimeError)  no worker could be started, or too many died
    ├── EnvironmentBuildError (RuntimeError)  the machine: an environment could not be built
    ├── ArenaFull (MemoryError)             the machine: the shared memory is at its limit
    ├── SandboxUnavailable (RuntimeError)   the machine: it cannot enforce what was asked
    ├── ProtocolError (ConnectionError)     the wire: the other side sent what it must not
    └── InternalError (RuntimeError)        us: please report it

Each is also the builtin that a user would catch. A message says what happened, to which model, and what to do next.
"""

from __future__ import annotations


class IsopodError(Exception):
    """The root of all errors of isopod."""


class SpecError(IsopodError, ValueError):
    """What the caller asked for does not exist or does not fit."""


class Closed(IsopodError, RuntimeError):
    """The model was closed; load it again."""


class Overloaded(IsopodError, RuntimeError):
    """More calls wait for the model than its ``max_waiting`` allows. Nothing was sent; try again in a moment."""


class ModelError(IsopodError, RuntimeError):
    """The model raised an exception. Its worker is healthy, and the next call works.

    ``type_name`` is the dotted name of the remote exception, ``remote_message`` its text, ``remote_traceback`` its
    formatted traceback, cause chain and notes included. The exception object itself never crosses: it is text.
    """

    def __init__(self, message: str, type_name: str = "", remote_message: str = "", remote_traceback: str = "") -> None:
        super().__init__(message)
        self.type_name = type_name
        self.remote_message = remote_message
        self.remote_traceback = remote_traceback


class WorkerError(IsopodError):
    """The worker, not the model's own code, is why a call has no answer."""


class WorkerCrashed(WorkerError, RuntimeError):
    """The worker process died. ``report`` (a ``CrashReport``) holds the facts; the next call starts a new worker."""

    report: object = None


class WorkerTimeout(WorkerError, TimeoutError):
    """The deadline of a call passed. If its worker was ended for it, ``report`` says where it hung; if the call had not
    begun, or its model stopped by itself, the worker goes on and ``report`` is None.
    """

    report: object = None


class WorkerUnavailable(WorkerError, RuntimeError):
    """No worker takes calls just now: none could be started, or too many have died; the message says why."""


class EnvironmentBuildError(IsopodError, RuntimeError):
    """An environment could not be built; the resolver's own words are in the message."""


class ArenaFull(IsopodError, MemoryError):
    """The shared memory is at its limit; the message names who holds it."""


class SandboxUnavailable(IsopodError, RuntimeError):
    """This machine cannot enforce the sandbox that was asked for."""


class ProtocolError(IsopodError, ConnectionError):
    """The other side of a worker's channel sent something that it must not send."""


class InternalError(IsopodError, RuntimeError):
    """A fault of isopod itself; please report it."""
