"""What a strict worker may read, as data and one function of it; whatever is not named here cannot be opened.

The base interpreter's own files, our two packages and their bytecode, the environment, the model's folder and file, its
custom operations, what the application adds, and of the system: its libraries, and a few files that say what kind of
machine this is. Of ``/proc`` only single files of this very process: its folder would also show the machine's network.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Dict, List

SYSTEM = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/opt/rocm/lib", "/etc/ld.so.cache",
    # Of which time zone and locale, and how OpenSSL is set up: hashlib does not load where it cannot be asked.
    "/etc/localtime", "/usr/share/zoneinfo", "/usr/share/locale", "/etc/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf",
    # How many processors there are, of which kind, and how much memory: Torch, oneDNN, OpenBLAS, TensorFlow ask.
    "/sys/devices/system/cpu", "/sys/devices/system/node", "/sys/kernel/mm/transparent_hugepage",
    "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/version", "/proc/filesystems",
    "/proc/sys/vm/overcommit_memory",
    "/proc/self/maps", "/proc/self/status", "/proc/self/stat", "/proc/self/statm", "/proc/self/cgroup",
    "/proc/self/cmdline",  # TensorFlow 2.12 ends the process where it cannot be read
    "/dev/zero", "/dev/random", "/dev/urandom",
)  # fmt: skip
# What a model that may start processes may execute. A program needs its loader, which lies among the libraries.
PROGRAMS = ("/bin", "/usr/bin", "/lib", "/lib64", "/usr/lib", "/usr/lib64")
# Where the interpreter is the system's own, its prefix is everything that is installed.
_SHARED_PREFIXES = ("/", "/usr", "/usr/local")


def readable(environment: Dict[str, Any], target: Dict[str, Any], own: List[str], more: List[str]) -> List[str]:
    """Paths, for the ``environment`` and ``target`` of a load message, our ``own`` folders, and what was asked for."""
    prefix = environment["prefix"]
    found = [*SYSTEM, *own, *_interpreter(), "" if prefix in _SHARED_PREFIXES else prefix, *environment["sites"]]
    options = target.get("options", {})
    found += [str(target.get(name, "")) for name in ("folder", "file", "path")]
    found += [str(options.get(name, "")) for name in ("code", "data")]
    found += [*target.get("ops", []), *more]
    found += [path for path in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if os.path.isabs(path)]
    return list(dict.fromkeys(path for path in found if path))


def programs(environment: Dict[str, Any], target: Dict[str, Any]) -> List[str]:
    """Paths that may be executed where a model may start processes: the system's programs, its Python, and its own."""
    prefix = environment["prefix"]
    python = os.path.realpath(sys.executable)
    found = [*PROGRAMS, os.path.dirname(os.path.dirname(python)), "" if prefix in _SHARED_PREFIXES else prefix]
    return [path for path in (*found, str(target.get("folder", ""))) if path and path not in _SHARED_PREFIXES] + [
        python
    ]


def _interpreter() -> List[str]:
    """Before an environment is active, ``sys.path`` is the standard library, and nothing else but our folders."""
    prefixes = {os.path.realpath(prefix) for prefix in (sys.base_prefix, sys.base_exec_prefix)}
    return [prefix for prefix in prefixes if prefix not in _SHARED_PREFIXES] + sys.path
