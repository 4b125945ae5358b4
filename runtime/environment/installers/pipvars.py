"""Where packages come from, said to pip: the same set that uv gets, as ``PIP_*`` variables.

``sources`` has made one set of what ``Env``, uv's variables and pip's configuration say. So pip's own files are
switched off here, or what was replaced would come back; what else they say of the transport is handed over.
"""

from __future__ import annotations

import os

from isopod.ipc.errors import SpecError
from isopod.runtime.environment.pipconfig import transport
from isopod.runtime.environment.plan import Plan
from isopod.runtime.environment.sources import resolver_environment
from isopod.runtime.environment.urls import local_path

# What uv can be told by variable, changes what is chosen, and has no like in pip.
_ONLY_UV = ("UV_OVERRIDE", "UV_EXCLUDE", "UV_TORCH_BACKEND", "UV_CONFIG_FILE")
_HIGHEST = ("", "highest")  # how pip chooses
_PRERELEASES = {"": None, "disallow": None, "if-necessary": None, "if-necessary-or-explicit": None, "allow": "1"}


def refuse_what_pip_cannot(plan: Plan) -> None:
    """Raise ``SpecError`` for what would be left out in silence."""
    if plan.overrides:
        raise SpecError("pip has no overrides: leave them out, or let uv build this environment (installer='uv')")
    given = resolver_environment(plan.sources)
    for name in _ONLY_UV:
        if given.get(name):
            raise SpecError(f"{name} is set, and pip has nothing like it: unset it, or use installer='uv'")
    if given.get("UV_RESOLUTION", "") not in _HIGHEST:
        raise SpecError(f"UV_RESOLUTION={given['UV_RESOLUTION']}: pip always takes the highest version: unset it")


def pip_environment(plan: Plan) -> dict[str, str]:
    """Return the whole environment of pip's process. Credentials are in it, as they are in uv's."""
    given = resolver_environment(plan.sources)
    kept = {name: value for name, value in given.items() if not name.startswith("UV_")}
    offline = bool(given.get("UV_OFFLINE"))
    index = given.get("UV_DEFAULT_INDEX") or given.get("UV_INDEX_URL", "")
    extras = [_url_of(item) for item in given.get("UV_INDEX", "").split()]
    extras += given.get("UV_EXTRA_INDEX_URL", "").split()
    links = [item.replace("%2C", ",") for item in given.get("UV_FIND_LINKS", "").split(",") if item]
    no_index = plan.sources.no_index
    if offline:  # pip has no such switch, but asks only what it knows of
        local = [item for item in (index, *extras) if item and local_path(item) is not None]
        index, extras, no_index = (local[0], local[1:], no_index) if local else ("", [], True)
        links = [item for item in links if local_path(item) is not None]
    said = {
        **transport(),
        "INDEX_URL": "" if no_index else index,
        "EXTRA_INDEX_URL": "" if no_index else " ".join(extras),
        "FIND_LINKS": " ".join(links),
        "NO_INDEX": "1" if no_index else "",
        "CONSTRAINT": given.get("UV_CONSTRAINT", ""),
        "PRE": _PRERELEASES.get(given.get("UV_PRERELEASE", "")) or "",
        "UPLOADED_PRIOR_TO": given.get("UV_EXCLUDE_NEWER", ""),
        "CERT": given.get("SSL_CERT_FILE", ""),
        "CLIENT_CERT": given.get("SSL_CLIENT_CERT", ""),
        "TRUSTED_HOST": given.get("UV_INSECURE_HOST", ""),
        "PROXY": plan.sources.variables.get("ALL_PROXY", ""),
    }
    ours = {"CONFIG_FILE": os.devnull, "NO_INPUT": "1", "DISABLE_PIP_VERSION_CHECK": "1", "ROOT_USER_ACTION": "ignore"}
    return {**kept, **{f"PIP_{name}": value for name, value in {**said, **ours}.items() if value}}


def _url_of(item: str) -> str:
    """uv allows ``name=url``."""
    name, separator, url = item.partition("=")
    return url if separator and "/" not in name else item
