"""pip's configuration, read as pip reads it: uv ignores it, and users who have a mirror set there expect it to hold.

Only what decides where packages come from is read. Files, then ``PIP_*`` variables, the later one winning:
https://pip.pypa.io/en/stable/topics/configuration/
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .urls import expand

# The commands whose sections count for an installation, in pip's order.
_SECTIONS = ("global", "install")
# Of the way to an index, and nothing of which packages come: for pip itself, when it is the installer.
_TRANSPORT = (
    "timeout",
    "default-timeout",
    "retries",
    "resume-retries",
    "keyring-provider",
    "cache-dir",
    "no-cache-dir",
)
_TRUE = ("1", "true", "yes", "on", "y", "t")


@dataclass(frozen=True)
class PipConfig:
    """The options of pip that concern where packages come from, as they were written."""

    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    no_index: bool = False
    cert: str | None = None
    client_cert: str | None = None
    proxy: str | None = None
    trusted_hosts: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()


def read(environ: Mapping[str, str] | None = None) -> PipConfig:
    """Read the files and the ``PIP_*`` variables. A file that cannot be read counts as empty."""
    options = _all_options(os.environ if environ is None else environ)
    return PipConfig(
        index_url=options.get("index-url") or options.get("pypi-url"),
        extra_index_urls=_several(options, "extra-index-url"),
        find_links=_several(options, "find-links"),
        no_index=options.get("no-index", "").strip().lower() in _TRUE,
        cert=options.get("cert"),
        client_cert=options.get("client-cert"),
        proxy=options.get("proxy"),
        trusted_hosts=_several(options, "trusted-host"),
        constraints=_several(options, "constraint"),
    )


def transport(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return time-outs, retries and the like as the variables that pip reads, without their ``PIP_``."""
    options = _all_options(os.environ if environ is None else environ)
    return {name.upper().replace("-", "_"): options[name] for name in _TRANSPORT if name in options}


def config_files(environ: Mapping[str, str]) -> list[Path]:
    """Return the places of pip's files, least important first. ``PIP_CONFIG_FILE=/dev/null`` switches all off."""
    chosen = environ.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return []
    system = environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    home = expand(environ.get("HOME") or "~")
    user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    files = [Path(folder) / "pip" / "pip.conf" for folder in reversed(system.split(os.pathsep)) if folder]
    files += [Path("/etc/pip.conf"), home / ".pip" / "pip.conf", user / "pip" / "pip.conf"]
    files.append(Path(sys.prefix) / "pip.conf")
    return [*files, Path(chosen)] if chosen else files


def _all_options(variables: Mapping[str, str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for file in config_files(variables):
        options.update(_options(file))
    for name, value in variables.items():
        if name.startswith("PIP_") and name != "PIP_CONFIG_FILE" and value:
            options[name[4:].lower().replace("_", "-")] = value
    return options


def _options(file: Path) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, configparser.Error):
        return {}  # most of the places hold no file; pip itself reports a broken one
    found: dict[str, str] = {}
    for section in _SECTIONS:
        if parser.has_section(section):
            found.update({name.replace("_", "-"): value for name, value in parser.items(section) if value})
    return found


def _several(options: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(options.get(name, "").split())
