"""The threads that serve all workers of this application: one spawns, one watches, one keeps time, one writes logs.

They start with the first worker and stay; ``shutdown`` ends every worker and all threads, and runs by itself at the end
of the application. The *spawner* exists because a parent-death signal, where it must serve, follows the thread that
spawned the child.
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import threading
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from isopod.ipc.errors import Closed
from isopod.runtime import process
from isopod.runtime.environment.store import home
from isopod.runtime.keeper import Keeper
from isopod.runtime.monitor import Monitor
from isopod.runtime.resources import Cpus
from isopod.runtime.scribe import Scribe
from isopod.runtime.template import Templates, Then

_logger = logging.getLogger("isopod")
_LAST_CALLS = 1.0  # seconds for each model's running calls at the end of the application


# Processors, None for all of ours, or what chooses of ours when a process is started: a container may be given others.
Chosen = Cpus | Callable[[Cpus], Cpus] | None


class _Order(NamedTuple):
    python: Path
    variables: Mapping[str, str]
    cpus: Chosen
    role: Literal["worker", "template"]
    then: Then


class Spawner:
    """One thread that starts processes, in the order in which they are asked for."""

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="isopod-spawner", daemon=True)
        self._thread.start()

    def order(
        self,
        python: Path,
        variables: Mapping[str, str],
        cpus: Chosen,
        then: Then,
        role: Literal["worker", "template"] = "worker",
    ) -> None:
        """Have a process started on a base interpreter, on some processors. Does not wait.

        ``then`` is called on the spawner's thread, and may not block.
        """
        self._orders.put(_Order(python, variables, cpus, role, then))

    def stop(self) -> None:
        self._orders.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (order := self._orders.get()) is not None:
            self._fill(order)
            del order  # it holds a fleet, and must not until the next one comes

    @staticmethod
    def _fill(order: _Order) -> None:
        made, error = None, None
        try:
            cpus = order.cpus(frozenset(os.sched_getaffinity(0))) if callable(order.cpus) else order.cpus
            made = process.spawn(order.python, order.variables, home() / "bytecode", order.role, cpus)
        except Exception as failure:  # goes to whoever asked for the process
            error = failure
        try:
            order.then(made, error)
        except Exception:  # goes to the log: a fault with one model must not end the spawner of all others
            _logger.exception("a fault while a worker was started; please report it")
            if made is not None:
                made.discard()


class Crew(NamedTuple):
    """The threads, together: all run, or none. And what is made with them for several models."""

    spawner: Spawner
    monitor: Monitor
    keeper: Keeper
    scribe: Scribe
    templates: Templates


class _Threads:
    """The crew of this process, and who must be closed before it ends."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.owner = os.getpid()
        self.ending = False  # the application is
        self.crew: Crew | None = None
        self.models: weakref.WeakSet[Any] = weakref.WeakSet()
        self.afterwards: list[Callable[[], None]] = []


_threads = _Threads()


def crew() -> Crew:
    """The threads, started if need be. Raises ``Closed`` where a daemon thread asks at the end of the application."""
    with _threads.lock:
        if _threads.ending:
            raise Closed("the application is ending: no worker can be started any more")
        if _threads.crew is None:
            _threads.crew = _hire()
        return _threads.crew


def _hire() -> Crew:
    spawner, monitor, keeper, scribe = Spawner(), Monitor(), Keeper(), Scribe()
    return Crew(spawner, monitor, keeper, scribe, Templates(spawner, monitor, keeper, scribe))


_Model = TypeVar("_Model")


def register(model: _Model) -> _Model:
    """Have a model closed at the end of the application. It is not kept alive by this."""
    with _threads.lock:
        _threads.models.add(model)
    return model


def models() -> list[Any]:
    """Those that are loaded, in no order."""
    with _threads.lock:  # RACE moving set: one that is loaded meanwhile
        return list(_threads.models)


def shutdown() -> None:
    """Close every model and end the threads. A later load starts them afresh."""
    if _threads.owner != os.getpid():
        return
    for model in models():
        model.close(_LAST_CALLS)
    with _threads.lock:
        ended, _threads.crew = _threads.crew, None
    if ended is not None:
        ended.keeper.stop()
        ended.spawner.stop()
        ended.monitor.stop()
        ended.scribe.stop()


def at_end(then: Callable[[], None]) -> None:
    """Have something called at the end of the application, when all its workers are gone. It may not raise."""
    _threads.afterwards.append(then)


def _at_exit() -> None:
    """The end of the application: every thread that may still be in a call is a daemon, whose error nobody handles."""
    if _threads.owner != os.getpid():
        return
    with _threads.lock:
        _threads.ending = True
    shown = threading.excepthook

    def show(failed: threading.ExceptHookArgs) -> None:
        if not isinstance(failed.exc_value, Closed):  # it closes under every one of them: no traceback for each
            shown(failed)

    threading.excepthook = show
    shutdown()
    for then in _threads.afterwards:
        then()


def _forget_after_fork() -> None:
    """In a forked copy: none of the threads exist there, and no worker is its own."""
    global _threads
    models, crew = list(_threads.models), _threads.crew
    _threads = _Threads()
    if crew is not None:
        crew.monitor.let_go_after_fork()
    for model in models:
        model.let_go_after_fork()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_forget_after_fork)
