"""The name of an environment in the cache: a hash of everything that decides what is in it.

What is left out is left out on purpose: credentials, all that is of run time (variables, threads, devices, what is to
be warm), certificates and proxies do not change what is installed. The contents of local wheels, locks and constraint
files are in, for a file may change under the same name; their paths are not, but for those of wheels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from .interpreter import Interpreter
from .lock import Lock
from .requirements import identity
from .sources import Sources
from .spec import Env, InstallerName

# To be raised when a build of the same inputs gives another folder, so that old ones are not taken for new ones.
SCHEMA = 1
_LENGTH = 32  # of 64 hexadecimal digits: 128 bits, and paths that people can still read


def key_of(
    interpreter: Interpreter,
    requirements: Sequence[str],
    sources: Sources,
    env: Env,
    lock: Lock | None = None,
    installer: InstallerName = "uv",
) -> str:
    """Return the key: 32 hexadecimal digits of a sha256."""
    facts: dict[str, object] = {
        "schema": SCHEMA,
        "implementation": interpreter.implementation,
        "version": interpreter.version,
        "soabi": interpreter.soabi,
        "platform": interpreter.platform,
        "base": str(interpreter.executable),
        "requirements": [identity(requirement) for requirement in requirements],
        "constraints": sorted({identity(requirement) for requirement in env.constraints}),
        "overrides": sorted({identity(requirement) for requirement in env.overrides}),
        "lock": None if lock is None else lock.identity,
        "sources": sources.identity,
        "from source": sorted(set(env.from_source)),
        "any from source": env.allow_source,
    }
    if installer != "uv":  # the usual one is not named: its environments were there before there was another
        facts["installer"] = installer
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]
