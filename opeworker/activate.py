"""Turn the bare base interpreter into the model's environment.

The base interpreter is trusted, and is started with ``-I -S``; only now, attached (and locked, where a sandbox is asked
for), may ``.pth`` files of the environment run. Order on the path: the standard library, the model's own folder, the
environment. So a model imports its siblings by name, and none of them can stand in for a standard module.
"""

from __future__ import annotations

import os
import site
import sys
from typing import Any, Dict, Optional, Tuple

from isopod.ipc.errors import ProtocolError


class _Active:
    """What this process has become: a worker out of a template was made in its environment."""

    environment: Optional[Dict[str, Any]] = None
    path: Tuple[str, ...] = ()


def activate(environment: dict[str, Any]) -> None:
    """Add the environment's site directories to this process."""
    sites = environment.get("sites")
    prefix = environment.get("prefix")
    executable = environment.get("executable")
    threads = environment.get("threads")
    if not isinstance(threads, list) or len(threads) not in (0, 2) or not all(type(count) is int for count in threads):
        raise ProtocolError("the thread counts of a load message have the wrong form")
    if not isinstance(sites, list) or not isinstance(prefix, str) or not isinstance(executable, str):
        raise ProtocolError("the environment of a load message has the wrong form")
    if _Active.environment == environment:
        return
    sys.prefix = sys.exec_prefix = prefix
    sys.executable = executable
    site.PREFIXES[:] = [prefix]
    site.getusersitepackages()  # TensorFlow 1.15 needs site.USER_SITE to be a string
    site.setquit()
    before = list(sys.path)
    for directory in sites:
        if os.path.isdir(directory):
            site.addsitedir(directory)
    _Active.environment = environment
    _Active.path = tuple(entry for entry in sys.path if entry not in before)


def add_folder(folder: str) -> None:
    """Add the model's folder to the path, before everything that the environment brought."""
    if folder:
        brought = (sys.path.index(entry) for entry in _Active.path if entry in sys.path)
        sys.path.insert(min(brought, default=len(sys.path)), folder)
