"""``load``: from what a user names to a ``Model`` that is ready."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from isopod.ipc.errors import EnvironmentBuildError, SpecError
from isopod.runtime import supervisor
from isopod.runtime.environment import BuildEvent, Env, prepare
from isopod.runtime.history import folder_for
from isopod.runtime.model import Model
from isopod.runtime.target import Target
from isopod.runtime.worker import Worker, plain_arguments

DEFAULT_MEMORY_LIMIT = 4 << 30


def load(
    target: str | os.PathLike[str],
    *,
    env: Env | str | os.PathLike[str] | None = None,
    python: str | os.PathLike[str] | None = None,
    args: Mapping[str, Any] | None = None,
    name: str | None = None,
    timeout: float | None = None,
    load_timeout: float = 300.0,
    memory_limit: int = DEFAULT_MEMORY_LIMIT,
    on_event: Callable[[BuildEvent], None] | None = None,
    crash_reports: str | os.PathLike[str] | None = None,
) -> Model:
    """Load a model into a process of its own, and return once it is ready to be called.

    ``target`` is ``"path/to/model.py:Name"`` or ``"package.module:Name"``: a function that takes its inputs by
    keyword, or a class whose instances do (made with ``args``, which are plain values: numbers, text, lists, dicts).
    ``env`` says where it runs: an ``Env`` (built once and kept), or the path of a virtual environment or an
    interpreter, which is used as it is; ``python`` is short for such an interpreter. Without either it runs in a copy
    of this application's environment.

    ``timeout`` is the default deadline of a call and ``load_timeout`` that of loading, in seconds. ``memory_limit``
    bounds the shared memory of each direction, in bytes. ``on_event`` hears of an environment's build.
    ``crash_reports`` (the environment variable ``ISOPOD_CRASH_REPORTS`` by default) is a folder that each crash is
    written to by itself, as ``CrashReport.save`` does; the newest 100 stay.

    Raises ``SpecError`` (something named does not exist), ``EnvironmentBuildError``, ``ModelError`` (it raised while
    loading), ``WorkerCrashed``, ``WorkerTimeout``. ::

        model = isopod.load("digits.py:Classifier", env=isopod.Env(["scikit-learn==1.2.2", "numpy<2"]))
    """
    found = Target.parse(target)
    label = name or found.name
    if env is not None and python is not None:
        raise SpecError(f"model {label!r}: give env or python, not both")
    if memory_limit < 1 << 20:
        raise SpecError(f"model {label!r}: a memory_limit of {memory_limit} bytes is too small; at least 1 MiB")
    arguments = plain_arguments(label, dict(args or {}))
    try:
        prepared = prepare(_environment(env if env is not None else python), on_event=on_event)
    except (SpecError, EnvironmentBuildError) as error:
        raise type(error)(f"model {label!r}: {error}") from error
    worker = Worker(label, found, arguments, prepared, memory_limit, load_timeout, folder_for(crash_reports))
    worker.first_start()
    model = Model(worker, timeout)
    supervisor.register(model)
    return model


def _environment(given: Env | str | os.PathLike[str] | None) -> Env:
    if given is None:
        return Env.current()
    return given if isinstance(given, Env) else Env.existing(given)
