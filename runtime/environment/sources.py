"""Where the resolver looks for packages: the user's options, uv's variables and pip's configuration, made one.

Precedence: what ``Env`` says, then ``UV_*`` variables, then pip. The result is a set of ``UV_*`` variables for the
resolver's process (never its command line, which others can read, for URLs may hold passwords) and an identity
without credentials for the cache key.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from isopod.ipc.errors import SpecError

from .dates import instant
from .pipconfig import PipConfig
from .requirements import sha256_of
from .spec import Env
from .urls import absolute, expand, local_path, redact

# uv's own variables that change what is resolved. All but the last group hold text; those hold names of files.
_RESOLVING = (
    "UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_INDEX_STRATEGY",
    "UV_EXCLUDE_NEWER", "UV_PRERELEASE", "UV_RESOLUTION", "UV_TORCH_BACKEND", "UV_NO_SOURCES", "UV_OFFLINE",
)  # fmt: skip
_FILES = ("UV_CONSTRAINT", "UV_OVERRIDE", "UV_EXCLUDE", "UV_CONFIG_FILE")
# What would change a lock, which says all: uv refuses some of them beside one.
_NOT_WITH_A_LOCK = (
    "UV_CONSTRAINT", "UV_OVERRIDE", "UV_EXCLUDE", "UV_EXCLUDE_NEWER", "UV_PRERELEASE", "UV_RESOLUTION",
    "UV_NO_VERIFY_HASHES", "UV_LOCKED", "UV_FROZEN",
)  # fmt: skip
# An offline build resolves from uv's cache: a different way to the same thing, not a different thing.
_NOT_IDENTITY = ("UV_OFFLINE",)
# What would make uv work on another environment, another interpreter or a project.
_STEERING = (
    "VIRTUAL_ENV", "CONDA_PREFIX", "UV_PYTHON", "UV_SYSTEM_PYTHON", "UV_BREAK_SYSTEM_PACKAGES", "UV_PROJECT",
    "UV_PROJECT_ENVIRONMENT", "UV_WORKING_DIR", "UV_WORKING_DIRECTORY", "UV_VENV_SEED", "UV_VENV_CLEAR", "UV_QUIET",
    "UV_NO_BINARY", "FORCE_COLOR", "CLICOLOR_FORCE", "RUST_LOG",
)  # fmt: skip


@dataclass(frozen=True)
class Sources:
    """``variables``: what the resolver's environment gets on top. ``identity``: the same for the key, no credentials.

    ``notes``: what was left out and why, for the build's log. ``hidden``: variables that the resolver must not see.
    """

    variables: Mapping[str, str]
    no_index: bool
    identity: tuple[str, ...]
    notes: tuple[str, ...]
    hidden: tuple[str, ...] = ()


def merge(env: Env, pip: PipConfig, environ: Mapping[str, str] | None = None) -> Sources:
    """Make one set of sources. Raises ``SpecError`` if a local folder that ``env`` names does not exist."""
    theirs = os.environ if environ is None else environ
    notes: list[str] = []
    hidden = _NOT_WITH_A_LOCK if env.lock is not None else ()
    if hidden:
        theirs = {name: value for name, value in theirs.items() if name not in hidden}
        notes += [f"pip's constraints {item} are left out: a lock says all" for item in pip.constraints]
        pip = replace(pip, constraints=())
    variables: dict[str, str] = {}
    for location in (*env.find_links, *env.extra_index_urls, *((env.index_url,) if env.index_url else ())):
        path = local_path(location)
        if path is not None and not path.exists():
            raise SpecError(f"{redact(location)!r} is given as a place of packages, but there is no {path}")
    no_index = env.no_index or (pip.no_index and env.index_url is None)
    _index(variables, env, pip, theirs)
    extras = list(env.extra_index_urls)
    if "UV_EXTRA_INDEX_URL" in theirs:
        extras += theirs["UV_EXTRA_INDEX_URL"].split()
    elif "UV_INDEX" not in theirs:
        extras += _there("extra-index-url", pip.extra_index_urls, notes)
    if extras:
        variables["UV_EXTRA_INDEX_URL"] = " ".join(dict.fromkeys(extras))
        # pip lets the versions of all indexes compete; uv would stop at the first index that knows the name
        variables["UV_INDEX_STRATEGY"] = theirs.get("UV_INDEX_STRATEGY") or "unsafe-best-match"
    links = list(env.find_links)
    if "UV_FIND_LINKS" in theirs:
        links += [absolute(item) for item in theirs["UV_FIND_LINKS"].split(",") if item]
    else:
        links += _there("find-links", pip.find_links, notes)
    if links:
        variables["UV_FIND_LINKS"] = ",".join(item.replace(",", "%2C") for item in dict.fromkeys(links))
    if env.exclude_newer is not None:
        variables["UV_EXCLUDE_NEWER"] = instant(env.exclude_newer)
    _files(variables, pip, theirs)
    _transport(variables, pip, theirs)
    return Sources(variables, no_index, _identity({**theirs, **variables}, no_index), tuple(notes), hidden)


def resolver_environment(sources: Sources) -> dict[str, str]:
    """Return the whole environment of the resolver's process."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _STEERING and name not in sources.hidden and not name.startswith(("PYTHON", "PIP_"))
    }
    ours = {"UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1", "UV_NO_PROGRESS": "1"}
    return {**kept, **sources.variables, **ours}


def _index(variables: dict[str, str], env: Env, pip: PipConfig, theirs: Mapping[str, str]) -> None:
    """One default index. uv has two names for it, the newer of which wins: an empty value hides what we override."""
    if env.index_url is not None:
        variables["UV_INDEX_URL"] = env.index_url
        if theirs.get("UV_DEFAULT_INDEX"):
            variables["UV_DEFAULT_INDEX"] = env.index_url
    elif pip.index_url and not theirs.get("UV_DEFAULT_INDEX") and not theirs.get("UV_INDEX_URL"):
        variables["UV_INDEX_URL"] = absolute(pip.index_url)


def _there(option: str, locations: Iterable[str], notes: list[str]) -> list[str]:
    """The locations of pip's configuration, without local folders that are gone: pip skips them, uv stops at them."""
    kept = []
    for location in locations:
        path = local_path(location)
        if path is not None and not path.exists():
            notes.append(f"pip's {option} {redact(location)} is left out: it does not exist")
        else:
            kept.append(absolute(location))
    return kept


def _files(variables: dict[str, str], pip: PipConfig, theirs: Mapping[str, str]) -> None:
    """Constraint files and their like, made absolute: the resolver runs in another folder."""
    for name in _FILES:
        if theirs.get(name):
            variables[name] = " ".join(_absolute_file(item) for item in theirs[name].split())
    if pip.constraints and not theirs.get("UV_CONSTRAINT"):
        variables["UV_CONSTRAINT"] = " ".join(_absolute_file(item) for item in pip.constraints)


def _transport(variables: dict[str, str], pip: PipConfig, theirs: Mapping[str, str]) -> None:
    """Certificates, proxy and trusted hosts. They change how packages come, not which: no part of the identity."""
    lower = {name.lower() for name in theirs}
    if pip.cert and "SSL_CERT_FILE" not in theirs and expand(pip.cert).is_file():
        variables["SSL_CERT_FILE"] = str(expand(pip.cert))
    if pip.client_cert and "SSL_CLIENT_CERT" not in theirs:
        variables["SSL_CLIENT_CERT"] = str(expand(pip.client_cert))
    if pip.proxy and not lower & {"http_proxy", "https_proxy", "all_proxy"}:
        variables["ALL_PROXY"] = pip.proxy if "://" in pip.proxy else f"http://{pip.proxy}"
    if theirs.get("ISOPOD_OFFLINE"):
        variables["UV_OFFLINE"] = "1"
    if theirs.get("UV_CACHE_DIR"):
        variables["UV_CACHE_DIR"] = _absolute_file(theirs["UV_CACHE_DIR"])  # for the resolver runs in another folder
    if pip.trusted_hosts and "UV_INSECURE_HOST" not in theirs:
        variables["UV_INSECURE_HOST"] = " ".join(pip.trusted_hosts)


def _identity(variables: Mapping[str, str], no_index: bool) -> tuple[str, ...]:
    facts = [f"no-index={no_index}"]
    for name in _RESOLVING:
        hidden = no_index and "INDEX" in name  # an index that is not asked changes nothing
        if variables.get(name) and name not in _NOT_IDENTITY and not hidden:
            facts.append(f"{name}={redact(variables[name])}")
    for name in _FILES:
        for item in variables.get(name, "").split():
            path = Path(item)
            facts.append(f"{name}={item} sha256={sha256_of(path) if path.is_file() else None}")
    return tuple(facts)


def _absolute_file(item: str) -> str:
    return item if "://" in item else str(expand(item))
