"""``isopod.trace``: record what calls and workers do for a while, and write it as a timeline.

One recording at a time. It can also be asked for from outside: with ``ISOPOD_TRACE=FILE`` in its environment (that is
what ``isopod trace -- COMMAND`` sets) an application records from its first ``load`` on, and writes at its end.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from isopod.ipc.errors import SpecError
from isopod.runtime import supervisor
from isopod.runtime.observe import perfetto, recording
from isopod.runtime.observe.recorder import Recorder

LIMIT = 50_000  # calls; some 40 MB while it is recorded, 80 MB as JSON, a tenth of that as .json.gz

_logger = logging.getLogger("isopod")
_lock = threading.Lock()
_heeded = False  # the variable was looked at


@contextlib.contextmanager
def trace(path: str | os.PathLike[str], *, limit: int = LIMIT) -> Iterator[Recorder]:
    """Record all calls of this application, of all models, and write them to ``path`` at the end of the block.

    The file, ``.json`` or ``.json.gz``, opens in https://ui.perfetto.dev: a track for each caller's thread and each
    worker, slices for calls and their phases, arrows from a call to its worker and back, the parts of each start,
    and crashes. Nothing is sent anywhere. The latest ``limit`` calls are kept. It is written also if the block raises.

    Raises ``SpecError`` where the file cannot be written, or something is recorded already. ::

        with isopod.trace("slow.json.gz"):
            model(image=x)
    """
    place = Path(path)
    perfetto.check(place)
    recorder = _begin(limit)
    try:
        yield recorder
    finally:
        if recording.active is recorder:  # else this is a forked copy, whose original goes on with it
            recording.active = None
            perfetto.write(recorder, place)


def _begin(limit: int) -> Recorder:
    if limit < 1:
        raise SpecError(f"limit is a number of calls, 1 or more, not {limit!r}")
    with _lock:
        if recording.active is not None:
            raise SpecError("calls are being recorded already: one trace at a time")
        recording.active = Recorder(limit)
        return recording.active


def heed_environment() -> None:
    """Begin the recording that the environment asks for, if it does, once. Raises ``SpecError``."""
    global _heeded
    asked = os.environ.get(recording.VARIABLE)
    if not asked or _heeded:
        return
    place = Path(asked).absolute()  # now: the application may change its folder
    perfetto.check(place)
    recorder = _begin(LIMIT)
    _heeded = True
    supervisor.at_end(lambda: _write_last(recorder, place))


def _write_last(recorder: Recorder, place: Path) -> None:
    """Each process of an application has a file: the first that ends the one that was named."""
    recording.active = None
    try:
        with contextlib.suppress(FileExistsError):
            place.open("x").close()
            perfetto.write(recorder, place)
            return
        name, dot, suffixes = place.name.partition(".")
        perfetto.write(recorder, place.with_name(f"{name}.{os.getpid()}{dot}{suffixes}"))
    except (SpecError, OSError) as error:
        _logger.error("no trace was written: %s", error)


def _forget_after_fork() -> None:
    """In a forked copy: what is recorded is the original's, and what it loads itself is another recording."""
    global _heeded, _lock
    recording.active, _heeded, _lock = None, False, threading.Lock()


os.register_at_fork(after_in_child=_forget_after_fork)
