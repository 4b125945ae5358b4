"""The monitor: one thread that waits for whatever happens to any worker.

Process descriptors, control channels and output pipes of all workers are in one selector. The thread never waits for a
worker and never runs a user's code, and a fault with one worker ends that worker, not the watch over the others.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import selectors
import threading
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from isopod.runtime.logs import FaultLog, LineLog, RecordLog
from isopod.runtime.process import APPLICATION_ENDED, WorkerProcess, read_available
from isopod.runtime.scribe import Outlet, Scribe

_logger = logging.getLogger("isopod")
_GRACE = 1.0  # seconds from the end of a worker's channel to its death
_CHUNK = 65_536
_STACKS_WAIT = 0.05  # seconds for the first of a hanging worker's stacks; one that is stopped tells nothing
_STACKS_QUIET = 0.01  # seconds of silence after which they are complete
_FAREWELL = 5.0  # seconds for the last workers to vanish once they were killed
_LAST_WORDS = 16  # chunks: more than a socket holds


class Watch:
    """What one worker writes: its output and its stacks, by the descriptors that they are read from, and its log.

    ``running`` says which call the worker is at, if any; it is asked on the monitor thread, and must not wait.
    """

    def __init__(
        self,
        process: WorkerProcess,
        model: str,
        scribe: Scribe,
        replica: int = 0,
        running: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._outlet = Outlet(scribe, model, replica)
        self.stdout = LineLog(self._outlet, "stdout", running)
        self.stderr = LineLog(self._outlet, "stderr", running)
        self.records = RecordLog(self._outlet, self.stderr)
        self.faults = FaultLog()
        self.process = process
        self.sources: dict[int, Callable[[bytes], None]] = {
            process.stdout: self.stdout.feed,
            process.stderr: self.stderr.feed,
            process.faults: self.faults.feed,
        }

    @property
    def log_level(self) -> int:
        """What the worker need not send is below this."""
        return self._outlet.logger.getEffectiveLevel()

    def ask_for_stacks(self) -> None:
        """Have it tell where it hangs, and wait for as long as it goes on telling. Not on the monitor thread."""
        told = self.faults.told
        told.clear()
        self.process.dump_stacks()
        patience = _STACKS_WAIT
        until = time.monotonic() + 2 * _STACKS_WAIT
        while told.wait(patience) and time.monotonic() < until:
            told.clear()
            patience = _STACKS_QUIET

    def drain(self) -> None:
        """Read what is left in the pipes, without waiting: a grandchild may hold them open for ever."""
        for descriptor, feed in self.sources.items():
            for _ in range(64):  # a pipe holds 64 KiB; more than that is somebody still writing
                data = read_available(descriptor)
                if not data:
                    break
                feed(data)
        self.stdout.finish()
        self.stderr.finish()


class Watched(Protocol):
    """A worker, and who hears of its life on the monitor thread. Neither of the methods may block."""

    process: WorkerProcess
    watch: Watch

    def on_control(self, data: bytes) -> None: ...
    def on_exit(self, status: int | None, peak_rss: int) -> None: ...


class Source(NamedTuple):
    """What a descriptor in the selector belongs to, and what to do when it can be read. Deaths come after all else."""

    process: WorkerProcess
    handle: Callable[[], None]
    is_death: bool = False


class Monitor:
    """Watches workers from ``watch`` to their death."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        self._orders: queue.SimpleQueue[Watched] = queue.SimpleQueue()
        self._watched: set[WorkerProcess] = set()
        self._silent: dict[WorkerProcess, float] = {}  # closed their channel, and until when they may take to end
        self._stopping = 0.0  # until when to wait for the last of them
        self._thread = threading.Thread(target=self._run, name="isopod-monitor", daemon=True)
        self._thread.start()

    def watch(self, watched: Watched) -> None:
        """Look after a worker from now on, until it is dead."""
        self._orders.put(watched)
        self._wake()

    def stop(self) -> None:
        """End every worker that there still is (its model was dropped just now), see them gone, and end the thread."""
        self._stopping = time.monotonic() + _FAREWELL
        self._wake()
        self._thread.join()
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def let_go_after_fork(self) -> None:
        """In a forked copy of the application, which has no such thread: give its descriptors back."""
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b"\0")

    def _run(self) -> None:
        while not self._stopping:
            self._turn()
        self._take_orders()
        for worker in self._watched:
            worker.kill(APPLICATION_ENDED)
        while self._watched and time.monotonic() < self._stopping:
            self._turn()

    def _turn(self) -> None:
        """Wait, and attend to what happened. Its locals hold on to workers, and must go before the next wait."""
        ready = self._select()
        self._end_silent()
        # A death is looked at after everything that the worker managed to say before it.
        for key in sorted(ready, key=lambda key: key.data is not None and key.data.is_death):
            if key.data is None:
                self._take_orders()
            else:
                self._attend(key.data)

    def _select(self) -> list[selectors.SelectorKey]:
        return [key for key, _ in self._selector.select(self._patience())]

    def _attend(self, source: Source) -> None:
        try:
            source.handle()
        except Exception:  # goes to the log: a fault of ours with one worker must not blind us for all others
            _logger.exception("a fault in the monitor, so a worker is ended; please report it")
            source.process.kill("a fault in isopod's monitor; see the log")

    def _take_orders(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)
        while not self._orders.empty():
            self._register(self._orders.get())

    def _register(self, watched: Watched) -> None:
        worker = watched.process
        self._watched.add(worker)

        def register(descriptor: int, handle: Callable[[], None], is_death: bool = False) -> None:
            self._selector.register(descriptor, selectors.EVENT_READ, Source(worker, handle, is_death))

        register(worker.pidfd, lambda: self._on_exit(watched), True)
        register(worker.control.fileno(), lambda: self._on_control(watched))
        for descriptor, feed in watched.watch.sources.items():
            register(descriptor, self._reader(descriptor, feed))

    def _reader(self, descriptor: int, feed: Callable[[bytes], None]) -> Callable[[], None]:
        def read() -> None:
            data = read_available(descriptor)
            if data:
                feed(data)
            elif data is not None:
                self._forget(descriptor)

        return read

    def _forget(self, descriptor: int) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(descriptor)

    def _on_control(self, watched: Watched) -> None:
        worker = watched.process
        try:
            data = worker.control.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            watched.on_control(data)
            return
        self._forget(worker.control.fileno())
        # An ending process closes it a moment before it is dead: only one that lives on has broken its word.
        self._silent[worker] = time.monotonic() + _GRACE

    def _patience(self) -> float | None:
        """Seconds until a worker without a channel must be ended, or we give up on the last ones."""
        due = [*self._silent.values(), self._stopping] if self._stopping else [*self._silent.values()]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _end_silent(self) -> None:
        now = time.monotonic()
        for worker, by in list(self._silent.items()):
            if now >= by:
                del self._silent[worker]
                worker.kill("it closed its control channel")

    def _on_exit(self, watched: Watched) -> None:
        worker = watched.process
        try:
            self._hear_last_words(watched)
        finally:
            # Whatever that ran into: everybody who waits for this worker must hear of its death.
            for descriptor in (worker.pidfd, worker.control.fileno(), *watched.watch.sources):
                self._forget(descriptor)
            self._silent.pop(worker, None)
            self._watched.discard(worker)
            worker.kill_group()
            status, peak_rss = worker.reap()
            try:
                watched.on_exit(status, peak_rss)
            finally:
                worker.close()

    @staticmethod
    def _hear_last_words(watched: Watched) -> None:
        """Why it failed to load, or its good-bye, and what is left in its pipes."""
        with contextlib.suppress(OSError):
            for _ in range(_LAST_WORDS):  # somebody who has outlived it may go on for ever
                data = watched.process.control.recv(_CHUNK)
                if not data:
                    break
                watched.on_control(data)
        watched.watch.drain()
