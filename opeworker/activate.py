"""Turn the bare base interpreter into the model's environment.

The base interpreter is trusted, and is started with ``-I -S``; only now, attached (and locked, where a sandbox is asked
for), may ``.pth`` files of the environment run. Order on the path: the standard library, the model's own folder, the
environment. So a model imports its siblings by name, and none of them can stand in for a standard module.
"""

from __future__ import annotations

import os
import site
import sys
from typing import Any

from isopod.ipc.errors import ProtocolError


def activate(environment: dict[str, Any], folder: str) -> None:
    """Add the environment's site directories and the model's folder to this process."""
    sites = environment.get("sites")
    prefix = environment.get("prefix")
    executable = environment.get("executable")
    threads = environment.get("threads")
    if not isinstance(threads, list) or len(threads) not in (0, 2) or not all(type(count) is int for count in threads):
        raise ProtocolError("the thread counts of a load message have the wrong form")
    if not isinstance(sites, list) or not isinstance(prefix, str) or not isinstance(executable, str):
        raise ProtocolError("the environment of a load message has the wrong form")
    sys.prefix = sys.exec_prefix = prefix
    sys.executable = executable
    site.PREFIXES[:] = [prefix]
    site.getusersitepackages()  # TensorFlow 1.15 needs site.USER_SITE to be a string
    site.setquit()
    if folder:
        sys.path.append(folder)
    for directory in sites:
        if os.path.isdir(directory):
            site.addsitedir(directory)
