"""``isopod env``: the store of environments, for people and (``--json``) for programs."""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from isopod import Env, SpecError
from isopod.cli.progress import bars
from isopod.cli.screen import Screen, amount, table
from isopod.runtime.environment import Reporter, find_or_download, interpreters, prepare, projects, upkeep
from isopod.runtime.environment.locking import lock
from isopod.runtime.environment.store import Published, Store
from isopod.runtime.pods import cache

_DAY = 86_400.0  # seconds
_KEY = 12  # digits that are shown, of 32


def run(screen: Screen, arguments: argparse.Namespace) -> int:
    """Run one of its commands and return its exit code. Raises ``IsopodError``."""
    return _COMMANDS[arguments.env_command](screen, arguments)


def _wanted(arguments: argparse.Namespace) -> Env:
    given = {
        "requirements": arguments.requirements,
        "python": arguments.python,
        "constraints": arguments.constraint,
        "overrides": arguments.override,
        "exclude_newer": arguments.exclude_newer,
        "lock": arguments.lock,
        "index_url": arguments.index_url,
        "extra_index_urls": arguments.extra_index_url,
        "find_links": arguments.find_links,
        "no_index": arguments.no_index,
        "from_source": arguments.from_source,
        "allow_source": arguments.allow_source,
        "warm": getattr(arguments, "warm", None),  # only of what is built
        "installer": arguments.installer,
        "download_python": arguments.download_python,
    }
    options = {name: value for name, value in given.items() if value}  # what was not said is not to replace a file's
    if arguments.script:
        return Env.script(arguments.script, **options)
    if arguments.named:
        return Env.project(arguments.named, **options)
    return Env.from_file(arguments.file, **options) if arguments.file else Env(**options)


def _lock(screen: Screen, arguments: argparse.Namespace) -> int:
    text = lock(_wanted(arguments))
    if arguments.output is None:
        screen.stream.write(text)
        return 0
    try:
        Path(arguments.output).write_text(text, encoding="utf-8")
    except OSError as error:
        raise SpecError(f"{arguments.output} cannot be written: {error.strerror}") from error
    return 0


def _build(screen: Screen, arguments: argparse.Namespace) -> int:
    env = _wanted(arguments)
    if arguments.json:
        built = prepare(env)
    else:
        with bars(screen, ["environment"]) as progress:
            built = prepare(env, on_event=progress.listener("environment"))
    facts = {"key": built.key, "prefix": str(built.prefix), "python": str(built.python), "cached": built.cached}
    if arguments.json:
        return _tell(screen, facts)
    screen.line(f"{screen.mark(True)} {'was there' if built.cached else 'built'}: {built.prefix}")
    return 0


def _list_project(screen: Screen, *, as_json: bool) -> int:
    file = projects.find()
    found = {name: repr(Env.from_toml(file, name)) for name in projects.names(file)}
    if as_json:
        return _tell(screen, {"file": str(file), "environments": found})
    screen.line(str(file))
    if found:
        table(
            screen,
            [("name", "wanted"), *((name, _cut(text, screen.width - 24)) for name, text in found.items())],
            left=2,
        )
    return 0


def _list(screen: Screen, arguments: argparse.Namespace) -> int:
    if arguments.project:
        return _list_project(screen, as_json=arguments.json)
    found = [_facts(one) for one in sorted(Store().all(), key=lambda one: one.last_used, reverse=True)]
    if arguments.json:
        return _tell(screen, found)
    if not found:
        screen.line(
            f"no environments in {Store().root} yet; the first isopod.load(..., env=isopod.Env([...])) makes one"
        )
        return 0
    rows = [("key", "Python", "on disk", "last used", "wanted")]
    for one in found:
        used = "in use now" if one["in_use"] else _ago(time.time() - one["last_used"])
        wanted = _cut(_wish(one), screen.width - 50)
        rows.append((one["key"][:_KEY], one["version"], amount(one["bytes"]), used, wanted))
    table(screen, rows, left=5)
    return 0


def _show(screen: Screen, arguments: argparse.Namespace) -> int:
    one = upkeep.find(Store(), arguments.key)
    facts = {**one.meta, **_facts(one)}
    if arguments.json:
        return _tell(screen, facts)
    last = datetime.fromtimestamp(one.last_used, timezone.utc)
    lines = {
        "key": one.key,
        "where": str(one.prefix),
        "Python": f"{facts['version']} ({one.meta['python']})",
        "on disk": amount(facts["bytes"]),
        "built": f"{_when(datetime.fromisoformat(one.meta['built']))}, in {one.meta['seconds']} s",
        "last used": f"{_when(last)}{', in use now' if facts['in_use'] else ''}",
        "wanted": _wish(facts),
        "from": ", ".join(item for item in one.meta["sources"] if item != "no-index=False") or "the default index",
        "installed": ", ".join(one.meta["freeze"]),
    }
    for name, value in lines.items():
        screen.line(f"  {screen.style(f'{name:<10}', 'dim')}  {value}")
    return 0


def _rm(screen: Screen, arguments: argparse.Namespace) -> int:
    store = Store()
    if bool(arguments.keys) == arguments.all:
        raise SpecError("name the environments to remove, or say --all")
    chosen = [upkeep.find(store, key) for key in arguments.keys]
    if arguments.all:
        chosen = [one for one in store.all() if one.folder.parent == store.root]
    removed, kept = [], []
    for one in chosen:
        gone = upkeep.remove(store, one)
        if gone is None:
            kept.append(one.key)
        else:
            removed.append(gone)
    return _told_removed(screen, removed, as_json=arguments.json, kept=kept)


def _gc(screen: Screen, arguments: argparse.Namespace) -> int:
    if arguments.unused_for < 0:
        raise SpecError(f"--unused-for {arguments.unused_for:g}: days cannot be negative")
    seconds, dry_run = arguments.unused_for * _DAY, arguments.dry_run
    environments = upkeep.collect(Store(), unused_for=seconds, dry_run=dry_run)
    gone = itertools.chain(environments, cache.collect_unused(unused_for=seconds, dry_run=dry_run))
    return _told_removed(screen, gone, as_json=arguments.json, would=dry_run)


def _verify(screen: Screen, arguments: argparse.Namespace) -> int:
    store = Store()
    chosen = [upkeep.find(store, key) for key in arguments.keys] if arguments.keys else store.all()
    wrong = {one.key: upkeep.verify(one, contents=arguments.contents) for one in chosen}
    if arguments.json:
        _tell(screen, wrong)
        return int(any(wrong.values()))
    for key, problems in wrong.items():
        screen.line(f"{screen.mark(not problems)} {key[:_KEY]}")
        for problem in problems:
            screen.line(f"    {problem}")
    if any(wrong.values()):
        screen.line("isopod env rm KEY removes one; it is built anew when it is next asked for")
    return int(any(wrong.values()))


def _python(screen: Screen, arguments: argparse.Namespace) -> int:
    if arguments.download and arguments.request is None:
        raise SpecError("--download: say which version")
    if arguments.request is None:
        found = interpreters()
    elif arguments.json:
        found = (find_or_download(arguments.request, wanted=arguments.download or None, reporter=Reporter(None)),)
    else:
        with bars(screen, ["Python"]) as progress:
            reporter = Reporter(progress.listener("Python"))
            found = (find_or_download(arguments.request, wanted=arguments.download or None, reporter=reporter),)
    facts = [{"version": ".".join(map(str, item.version)), "path": str(item.executable)} for item in found]
    if arguments.json:
        return _tell(screen, facts)
    for one in facts:
        screen.line(f"{one['version']:<10} {screen.style(one['path'], 'dim')}")
    return 0


_COMMANDS: dict[str, Callable[[Screen, argparse.Namespace], int]] = {
    "build": _build,
    "lock": _lock,
    "list": _list,
    "show": _show,
    "rm": _rm,
    "gc": _gc,
    "verify": _verify,
    "python": _python,
}


def _facts(one: Published) -> dict[str, Any]:
    return {
        "key": one.key,
        "prefix": str(one.prefix),
        "version": ".".join(map(str, one.meta["version"])),
        "requirements": one.meta["requirements"],
        "lock": one.meta["lock"],
        "bytes": upkeep.disk_usage(one.folder),
        "last_used": one.last_used,
        "in_use": upkeep.in_use(one),
    }


def _when(moment: datetime) -> str:
    return moment.astimezone().isoformat(sep=" ", timespec="seconds")


def _wish(facts: dict[str, Any]) -> str:
    return f"lock: {facts['lock']}" if facts["lock"] else ", ".join(facts["requirements"])


def _told_removed(
    screen: Screen,
    gone: Iterable[upkeep.Removed],
    *,
    as_json: bool,
    would: bool = False,
    kept: Iterable[str] = (),
) -> int:
    """Each as it goes, then the sum. Exit code 1 if something was in use and stays."""
    removed = []
    for one in gone:
        removed.append(one)
        if not as_json:
            screen.line(f"  {'would remove' if would else 'removed'} {one.what[:40]}  {amount(one.size)}")
    kept = list(kept)
    if as_json:
        _tell(screen, {"removed": [{"what": one.what, "bytes": one.size} for one in removed], "in_use": kept})
        return int(bool(kept))
    for key in kept:
        screen.line(f"{screen.mark(False)} {key[:_KEY]} is in use, and stays")
    total = amount(sum(one.size for one in removed))
    screen.line(f"{len(removed)} {'would go' if would else 'gone'}, {total}")
    return int(bool(kept))


def _tell(screen: Screen, facts: object) -> int:
    screen.line(json.dumps(facts, indent=2))
    return 0


def _ago(seconds: float) -> str:
    for unit, size in (("day", _DAY), ("hour", 3600.0), ("minute", 60.0)):
        number = int(seconds // size)
        if number:
            return f"{number} {unit}{'s' if number > 1 else ''} ago"
    return "just now"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(width - 1, 1)]}…"
