"""``load``: from what a user names to a ``Model`` that is ready."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from isopod.ipc.errors import SpecError
from isopod.runtime import supervisor
from isopod.runtime.batching import Batch
from isopod.runtime.blueprint import Blueprint
from isopod.runtime.calls import FOREVER
from isopod.runtime.circuit import Restart
from isopod.runtime.deployment import Deployment
from isopod.runtime.devices import check_device
from isopod.runtime.environment import BuildEvent, Env, Threads, thread_counts
from isopod.runtime.health import Health
from isopod.runtime.history import History, folder_for
from isopod.runtime.lifecycle import SHUT
from isopod.runtime.model import Model
from isopod.runtime.observe import recording
from isopod.runtime.options import Options
from isopod.runtime.placement import Placement, processors
from isopod.runtime.problems import Problem
from isopod.runtime.problems.contract import Cast, Contract, problem_of
from isopod.runtime.resources import Cpus
from isopod.runtime.sandbox import Sandbox
from isopod.runtime.source import Source, designated, environment, limits, sandbox_for
from isopod.runtime.staffing import Recycle, Staffing
from isopod.runtime.starter import Start, start_named
from isopod.runtime.target import Overrides


def load(
    target: str | os.PathLike[str],
    *,
    env: Env | str | os.PathLike[str] | None = None,
    python: str | os.PathLike[str] | None = None,
    args: Mapping[str, Any] | None = None,
    backend: str | None = None,
    options: Mapping[str, Any] | None = None,
    ops: Sequence[str | os.PathLike[str]] = (),
    device: str | None = None,
    name: str | None = None,
    problem: Problem | str | os.PathLike[str] | None = None,
    check: bool = True,
    cast: Cast | None = None,
    timeout: float | None = None,
    load_timeout: float | None = None,
    grace: float | None = None,
    memory_limit: int | None = None,
    workers: int | None = None,
    standby: int | None = None,
    retries: int | None = None,
    batch: Batch | None = None,
    restart: Restart | None = None,
    max_waiting: int | None = None,
    max_calls: int | None = None,
    max_age: float | None = None,
    max_rss: int | None = None,
    cpus: str | Iterable[int] | Sequence[str | Iterable[int]] | None = None,
    placement: Placement = "auto",
    threads: int | Threads | None = None,
    start: Start = "spawn",
    sandbox: str | Sandbox | None = None,
    on_event: Callable[[BuildEvent], None] | None = None,
    crash_reports: str | os.PathLike[str] | None = None,
) -> Model:
    """Load a model into a process of its own, and return once it is ready to be called.

    ``target`` is ``"path/to/model.py:Name"`` or ``"package.module:Name"``: a function that takes its inputs by
    keyword, or a class whose instances do (made with ``args``, which are plain values: numbers, text, lists, dicts).
    Or it is a model file or a SavedModel's folder, whose content says which framework loads it, what it takes and what
    it gives (``docs/formats.md``). ``backend`` says so where the file does not; ``options`` are the backend's own;
    ``ops`` are libraries of custom operations, loaded before it. Or it is a pod, a folder or a zip (of ``isopod.pack``,
    or Neuropod's), which says all of that itself, its environment and its limits. ``name`` is what logs, errors and
    ``health`` call it: by default its class, function or file, or as its pod says.

    ``env`` says where it runs: an ``Env`` (built once and kept), or the path of a virtual environment or an
    interpreter, which is used as it is; ``python`` is short for such an interpreter. Without either its file may say it
    (``Env.script``); else it runs on this application's own Python and packages. ``on_event`` hears of a build.

    What is None here is as the pod says, and else: ``load_timeout`` 300, ``grace`` 1, ``memory_limit`` 4 GiB, one
    worker, no standby, no retries, and no other limit.

    ``device`` is ``"cpu"`` or a GPU, ``"cuda:0"``, by the numbers that this application sees (in the order of the PCI
    bus); the worker sees no other. Without it a model runs where its framework puts it.

    ``problem`` (or its TOML file) is the interface that the model is to have: it is checked here against what the model
    says of itself, and each call against it: inputs before anything is sent, outputs when they are there. Without one,
    inputs are checked against the model's own word, where it gives one. ``check=False`` leaves that to names.
    ``cast="safe"`` (or ``"same_kind"``, as in ``numpy.can_cast``) casts inputs to the declared dtype; else none is.

    ``timeout`` is the default deadline of a call and ``load_timeout`` that of loading, in seconds, more than 0. A model
    that has looked at ``isopod.worker.cancelled`` has ``grace`` seconds from its deadline to stop by itself, then is
    killed; any other is killed at once. ``memory_limit`` bounds the shared memory of each direction, in bytes.

    ``workers`` processes share the calls, each with a copy of the model; ``standby`` more are loaded and take over when
    one dies. ``restart`` says how dead ones are replaced. ``retries`` is for models without side effects that leave
    their inputs as they are: a call that was running when its worker died is given to another one, so many times; one
    that no worker had begun goes on in any case. More than ``max_waiting`` unanswered calls are refused. With ``batch``
    the calls of several callers are run together, by the first dimension of their arrays (``docs/batching.md``).

    A worker is replaced between calls after ``max_calls`` calls, at ``max_age`` seconds, or above ``max_rss`` bytes of
    private memory. ``cpus`` are the processors that workers may use: ``"0-3"`` or ``[0, 1]`` for all alike, a list of
    such for one each. ``placement`` chooses them: ``"latency"``, the core that this thread runs on; ``"throughput"``,
    other cores, one each where there are enough. Without either, a strict model leaves one core to others, always the
    same, and any other leaves none. The application's own threads are never pinned. ``threads`` are those of workers'
    libraries (OpenMP, BLAS, Torch, TensorFlow), before ``env``'s.

    ``start="fork-template"``, for models that you trust: their framework is imported once, by a template process of the
    environment that computes nothing, and workers are forked from it in milliseconds. It imports ``Env.warm``, the
    framework of a model file, and what a Python file imports at its top from the environment. Where a library cannot be
    forked, the log says so, and workers are spawned.

    ``sandbox`` is ``"limits"``, ``"strict"`` for a model that is not trusted, ``"none"``, or a ``Sandbox``. None is
    ``"limits"``, or what a pod asks for, which is never less. A strict model that is to have every processor is given
    them: ``cpus=os.sched_getaffinity(0)``.

    ``crash_reports`` (the environment variable ``ISOPOD_CRASH_REPORTS`` by default) is a folder that each crash is
    written to by itself, as ``CrashReport.save`` does; the newest 100 stay.

    Raises ``SpecError`` (something named does not exist), ``EnvironmentBuildError``, ``ModelError`` (it raised while
    loading), ``WorkerCrashed``, ``WorkerTimeout``, ``WorkerUnavailable``, ``SandboxUnavailable``. ::

        model = isopod.load("digits.py:Classifier", env=isopod.Env(["scikit-learn==1.2.2", "numpy<2"]), workers=2)
    """
    if recording.VARIABLE in os.environ:
        from isopod.runtime.observe.trace import heed_environment  # most applications have no use for it

        heed_environment()
    asked = {
        "timeout": timeout, "load_timeout": load_timeout, "grace": grace, "memory_limit": memory_limit,
        "workers": workers, "standby": standby, "retries": retries, "max_waiting": max_waiting,
        "max_calls": max_calls, "max_age": max_age, "max_rss": max_rss, "threads": threads,
    }  # fmt: skip
    overrides = Overrides(backend, dict(options or {}), tuple(ops))
    found = designated(target, overrides)
    label = name or found.name
    with _told_of(label):
        contract = Contract(problem_of(problem), check, cast, None if batch is None else _checked(batch).symbol)
        chosen = Options.of(asked, limits(found))
        check_device(device)
        where = _environment(env, python)
        way = start_named(start)
        recycle = Recycle(chosen.max_rss, chosen.max_calls, chosen.max_age)
        places = processors(cpus, placement, chosen.workers)
        counts = thread_counts(chosen.threads)
        staffing = Staffing(
            chosen.workers, chosen.standby, chosen.retries, chosen.max_waiting, chosen.patience, places,
            restart or Restart(), recycle,
        )  # fmt: skip
        box = sandbox_for(found, sandbox)
        box.check_device(device)
    source = Source(
        label, found, where, dict(args or {}), chosen.memory_limit, min(chosen.load_timeout, FOREVER), box, counts, way,
        on_event, overrides=overrides, device=device, contract=contract,
    )  # fmt: skip
    blueprint = source.blueprint()  # first: nothing is started before its environment is there
    history = History(folder_for(crash_reports))
    deployment = Deployment(label, staffing, chosen.memory_limit, history, protected=box.strict)
    return _started(deployment, source, blueprint, chosen.timeout, batch)


def _started(
    deployment: Deployment, source: Source, blueprint: Blueprint, timeout: float | None, batch: Batch | None
) -> Model:
    with contextlib.ExitStack() as failed:
        failed.callback(deployment.close, 0.0)
        deployment.start(blueprint)
        model = Model(deployment, source, timeout, batch)
        failed.pop_all()  # from here on the model closes it, when it is let go
    return supervisor.register(model)


def _checked(batch: Any) -> Batch:
    if not isinstance(batch, Batch):
        raise SpecError(f"batch is an isopod.Batch, such as isopod.Batch(max_size=32, max_delay=0.002), not {batch!r}")
    return batch


def timed(model: Model) -> Model:
    """The same model once more, in a process of its own that does nothing but time it; see the worker's ``timed``.

    It has the processors of the model's first worker. Raises as ``load``.
    """
    given = model._source
    once_more = replace(given, target=replace(given.target, timed=True), contract=Contract(), start="spawn")
    return _again(once_more, model._deployment.staffing.cpus[:1])


def elsewhere(model: Model, placement: Placement) -> Model:
    """The same model once more, with a worker that runs where ``placement`` has it. Raises as ``load``."""
    return _again(model._source, processors(None, placement, 1))


def _again(source: Source, cpus: tuple[Cpus, ...] = ()) -> Model:
    staffing = Staffing(cpus=cpus)
    deployment = Deployment(source.name, staffing, source.memory_limit, History(), protected=source.sandbox.strict)
    return _started(deployment, source, source.blueprint(), None, None)


@contextlib.contextmanager
def _told_of(label: str) -> Iterator[None]:
    """What is wrong is said of the model."""
    try:
        yield
    except SpecError as error:
        raise SpecError(f"model {label!r}: {error}") from None


def _environment(env: Env | str | os.PathLike[str] | None, python: str | os.PathLike[str] | None) -> Env | None:
    if env is not None and python is not None:
        raise SpecError("give env or python, not both")
    given = env if env is not None else python
    return None if given is None else environment(given)


def health() -> dict[str, Health]:
    """The health of every model that this application has loaded and not closed, by name; for a readiness probe.

    ::

        ready = all(model.ready for model in isopod.health().values())

    Of several models with one name, the one that is worst off is told of.
    """
    found: dict[str, Health] = {}
    for model in supervisor.models():
        one = model.health
        if one.state != SHUT and (model.name not in found or found[model.name].ready):
            found[model.name] = one
    return found
