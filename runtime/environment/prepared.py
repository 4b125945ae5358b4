"""``prepare``: from an ``Env`` to folders that a worker can run on, built at most once however many ask for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from isopod.ipc.errors import EnvironmentBuildError

from . import devices, existing, lock, pipconfig, requirements, warmth
from .builder import Build
from .download import find_or_download
from .events import BuildEvent, Reporter
from .hold import Hold, hold
from .installers import choose
from .key import key_of
from .plan import Plan, site_folder
from .sources import merge
from .spec import Env
from .store import Published, Store
from .threads import Threads, thread_counts


@dataclass(frozen=True)
class Prepared:
    """An environment that is ready: what a worker is started with.

    ``python`` is the base interpreter, which is run; ``executable`` and ``prefix`` are the environment's own, which the
    worker takes on once ``site_dirs`` are active. It runs with ``variables``, which say the visible devices too, and
    without the application's ``unset``; with ``threads``, where its model is not given others.
    ``key`` names it in the cache, None for an existing environment; ``cached`` is False only for the caller who built
    it. ``hold`` keeps it from being removed, until it is released. ``warm`` is what a template of it imports.
    """

    python: Path
    version: tuple[int, int, int]
    executable: Path
    prefix: Path
    site_dirs: tuple[Path, ...]
    variables: Mapping[str, str]
    key: str | None
    cached: bool
    unset: tuple[str, ...] = ()
    hold: Hold | None = None
    threads: Threads | None = None
    warm: tuple[str, ...] = ()


def prepare(env: Env, *, on_event: Callable[[BuildEvent], None] | None = None, store: Store | None = None) -> Prepared:
    """Return the environment of ``env``, building it if the cache (``store``; the user's by default) has none.

    ``on_event`` is called, in this thread, for each step; an exception out of it ends the build. Raises ``SpecError``
    for an interpreter, an existing environment or a device that is not there, ``EnvironmentBuildError`` if the build
    fails.
    """
    reporter = Reporter(on_event)
    visible = devices.visibility(env.devices, env.variables, env.unset, os.environ)
    variables = {**visible, **env.variables} if visible else env.variables
    threads = thread_counts(env.threads)
    if env.location is not None:
        there = existing.resolve(env.location)
        reporter.tell("done", f"using {there.prefix}")
        return Prepared(
            python=there.base.executable,
            version=there.base.version,
            executable=there.executable,
            prefix=there.prefix,
            site_dirs=there.site_dirs,
            variables=variables,
            key=None,
            cached=True,
            unset=tuple(env.unset),
            threads=threads,
            warm=tuple(env.warm),
        )
    plan = plan_of(env, reporter)
    interpreter = plan.interpreter
    key = key_of(interpreter, plan.wanted.requirements, plan.sources, env, plan.lock, plan.installer)
    cache = Store() if store is None else store
    try:
        found, held, cached = _had(plan, key, cache, reporter)
    except OSError as error:
        raise EnvironmentBuildError(f"the environment cannot be kept in {cache.root}: {error}") from error
    found.note_use()
    reporter.tell("done", f"using {found.folder}")
    return Prepared(
        python=interpreter.executable,
        version=interpreter.version,
        executable=found.prefix / "bin" / "python",
        prefix=found.prefix,
        site_dirs=(site_folder(found.prefix, interpreter),),
        variables=variables,
        key=key,
        cached=cached,
        unset=tuple(env.unset),
        hold=held,
        threads=threads,
        warm=tuple(env.warm),
    )


def plan_of(env: Env, reporter: Reporter) -> Plan:
    """What a build of ``env`` takes, on this machine and with its configuration. Raises ``SpecError``."""
    # looked at anew, for it may have changed since the spec was made
    locked = None if env.lock is None else lock.read(env.lock)
    request = env.python if env.python is not None or locked is None else locked.python
    interpreter = find_or_download(request, wanted=env.download_python, reporter=reporter)
    sources = merge(env, pipconfig.read())
    wanted = requirements.complete(env.requirements) if locked is None else requirements.Complete((), added=False)
    return Plan(
        interpreter=interpreter,
        wanted=wanted,
        sources=sources,
        lock=locked,
        constraints=tuple(sorted(set(env.constraints))),
        overrides=tuple(sorted(set(env.overrides))),
        allow_source=env.allow_source,
        from_source=tuple(sorted(set(env.from_source))),
        warm=tuple(dict.fromkeys(env.warm)),
        variables=tuple(env.variables.items()),
        unset=tuple(env.unset),
        installer=choose(env.installer),
    )


def _had(plan: Plan, key: str, cache: Store, reporter: Reporter) -> tuple[Published, Hold, bool]:
    """The environment, held; and whether it was there. Builds it under the key's lock if need be, and again if somebody
    removes it before it is held."""
    cached = True
    while True:
        found = cache.get(key)
        held = None if found is None else hold(found.folder)
        if found is not None and held is not None:
            try:
                _warm_up(plan, found, cache, reporter)
            except BaseException:  # Ctrl-C too
                held.release()
                raise
            return found, held, cached
        cached = not _build(plan, key, cache, reporter) and cached


def _build(plan: Plan, key: str, cache: Store, reporter: Reporter) -> bool:
    """Build under the key's lock; False if another had built it when the lock was ours."""

    def waiting(holder: str) -> None:
        reporter.tell("wait", f"process {holder} builds this environment")

    with cache.lock(key, waiting) as held:
        if cache.get(key) is not None:
            return False
        with cache.staging(key) as staging:
            meta = Build(plan, staging, held, reporter).run()
            cache.publish(key, staging, meta)
    return True


def _warm_up(plan: Plan, found: Published, cache: Store, reporter: Reporter) -> None:
    """Import what nobody has imported yet in an environment that is there, once for all who ask for it.

    Left out where the store is not ours or cannot be written to: a worker is slower to start then, and no different.
    """
    if found.folder.parent != cache.root or warmth.recorded(found.folder).issuperset(plan.warm):
        return

    def waiting(holder: str) -> None:
        reporter.tell("wait", f"process {holder} warms this environment")

    if not os.access(cache.root, os.W_OK) or not os.access(found.folder, os.W_OK):
        return
    with cache.lock(found.key, waiting) as held:
        known = warmth.recorded(found.folder)
        missing = tuple(module for module in plan.warm if module not in known)
        if missing:
            Build(replace(plan, warm=missing), found.folder, held, reporter).warm()
            warmth.record(found.folder, missing)
