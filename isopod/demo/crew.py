"""Models that are loaded side by side, in threads, and closed together, however the demo ends."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, TypeVar

import psutil

import isopod
from isopod.cli.progress import Bars
from isopod.runtime.environment.store import home

_P = ParamSpec("_P")
_T = TypeVar("_T")
_MODELS = Path(__file__).parent / "models"


@contextlib.contextmanager
def worker_log() -> Iterator[None]:
    """Write what the workers print to a file, for it would tear the picture; a crash report still quotes it."""
    folder = home() / "demo"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handler = logging.FileHandler(folder / "workers.log", mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
    logger = logging.getLogger("isopod")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()


class Stopped(Exception):
    """The crew was told to stop while a build was going on. Raised in its own threads only."""


class Built:
    """Listens to one environment's build: hands each event on to the bars, and remembers how long it took."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.cached = True

    def hear(self, event: isopod.BuildEvent) -> None:
        """Take one event. One that is not about the end means that the environment was not there."""
        self.seconds = max(self.seconds, event.seconds)
        self.cached = self.cached and event.stage == "done"

    def __str__(self) -> str:
        return "built before" if self.cached else f"built in {self.seconds:.1f} s"


class Crew:
    """A pool of threads, the models that they load, and one way out for all of them."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="isopod-demo")
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._models = contextlib.ExitStack()

    def start(self, work: Callable[_P, _T], *args: _P.args, **named: _P.kwargs) -> Future[_T]:
        """Run ``work`` in a thread of the crew."""
        return self._pool.submit(work, *args, **named)

    def load(
        self,
        target: str,
        env: isopod.Env,
        name: str,
        args: Mapping[str, object],
        bars: Bars,
        built: Built,
    ) -> isopod.Model:
        """Load one of the demo's model files. Called from any thread; the crew closes it at the end."""

        shown = bars.listener(name)

        def heard(event: isopod.BuildEvent) -> None:
            if self._stop.is_set():
                raise Stopped  # out of the listener: that ends a build
            built.hear(event)
            shown(event)
            if event.stage == "done":
                bars.tell(name, "start")

        model = isopod.load(f"{_MODELS / target}", env=env, name=name, args=args, on_event=heard)
        with self._lock:
            self._models.callback(model.close)
        return model

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        if error is not None:
            # a download says nothing for minutes, so its listener cannot stop it: end the program itself, and again,
            # for a build may just have been between two programs
            end = threading.Thread(target=self._pool.shutdown, name="isopod-demo-end")
            end.start()
            while end.is_alive():
                _end_children()
                end.join(0.1)
        self._pool.shutdown(wait=True)
        self._models.close()


def _end_children() -> None:
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            child.terminate()
