"""The threads that serve all workers of this application: one spawns, one watches, one writes their logs.

They start with the first worker and stay; ``shutdown`` ends every worker and all threads, and runs by itself at the end
of the application. The *spawner* exists because a parent-death signal, where it must serve, follows the thread that
spawned the child.
"""

from __future__ import annotations

import atexit
import os
import queue
import threading
import weakref
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

from isopod.ipc.errors import Closed
from isopod.runtime import process
from isopod.runtime.environment.store import home
from isopod.runtime.logs import Scribe
from isopod.runtime.monitor import Monitor
from isopod.runtime.process import WorkerProcess

_LAST_CALLS = 1.0  # seconds for each model's running calls at the end of the application


class Spawner:
    """One thread that starts processes, in the order in which they are asked for."""

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[tuple[Future[WorkerProcess], Path, Mapping[str, str]] | None]
        self._orders = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="isopod-spawner", daemon=True)
        self._thread.start()

    def spawn(self, python: Path, variables: Mapping[str, str]) -> WorkerProcess:
        """Start a worker on a base interpreter. Raises ``SpecError``."""
        order: Future[WorkerProcess] = Future()
        self._orders.put((order, python, variables))
        try:
            return order.result()
        except KeyboardInterrupt:  # goes on to the caller; the process is on its way, and would be nobody's
            order.add_done_callback(_discard)
            raise

    def stop(self) -> None:
        self._orders.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (order := self._orders.get()) is not None:
            future, python, variables = order
            try:
                future.set_result(process.spawn(python, variables, home() / "bytecode"))
            except BaseException as error:  # goes to whoever asked for the process
                future.set_exception(error)


def _discard(order: Future[WorkerProcess]) -> None:
    if order.exception() is None:
        order.result().discard()


class Crew(NamedTuple):
    """The threads, together: all run, or none."""

    spawner: Spawner
    monitor: Monitor
    scribe: Scribe


class _Threads:
    """The crew of this process, and who must be closed before it ends."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.owner = os.getpid()
        self.ending = False  # the application is
        self.crew: Crew | None = None
        self.models: weakref.WeakSet[Any] = weakref.WeakSet()


_threads = _Threads()


def crew() -> Crew:
    """The threads, started if need be. Raises ``Closed`` where a daemon thread asks at the end of the application."""
    with _threads.lock:
        if _threads.ending:
            raise Closed("the application is ending: no worker can be started any more")
        if _threads.crew is None:
            _threads.crew = Crew(Spawner(), Monitor(), Scribe())
        return _threads.crew


def register(model: Any) -> None:
    """Have a model closed at the end of the application. It is not kept alive by this."""
    _threads.models.add(model)


def shutdown() -> None:
    """Close every model and end the threads. A later load starts them afresh."""
    if _threads.owner != os.getpid():
        return
    for model in list(_threads.models):
        model.close(_LAST_CALLS)
    with _threads.lock:
        ended, _threads.crew = _threads.crew, None
    if ended is not None:
        ended.monitor.stop()
        ended.spawner.stop()
        ended.scribe.stop()


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
