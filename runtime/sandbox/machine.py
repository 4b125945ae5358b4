"""What this machine can enforce: a process is locked as a worker would be, and what came of it is told."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

from isopod.runtime.environment.interpreter import find
from isopod.runtime.process import folder_of

from .profiles import Sandbox
from .variables import worker_variables

_SECONDS = 30.0


_namespaces: bool | None = None


def with_namespaces(asked: Sandbox) -> bool:
    """Whether workers of a sandbox are given namespaces of their own; tried once, where it is for us to say."""
    global _namespaces
    if not asked.strict or asked.namespaces != "auto":
        return asked.namespaces == "required"
    if _namespaces is None:
        _namespaces = trial(Sandbox("strict", namespaces="required"))[0]
    return _namespaces


def trial(asked: Sandbox) -> tuple[bool, str]:
    """Whether a sandbox can be had, and what it would be made of or what is missing. Takes a tenth of a second."""
    here = find().executable
    order = json.dumps(asked.order(1 << 30, namespaces=asked.strict and asked.namespaces == "required"))
    script = folder_of("opeworker") / "trial.py"
    command = [str(here), "-I", "-S", "-B", str(script), str(folder_of("ipc")), order]
    variables = worker_variables(os.environ, {}, asked.profile)
    try:
        done = subprocess.run(command, capture_output=True, env=variables, timeout=_SECONDS, check=False)
        answer: dict[str, Any] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return False, f"it could not be tried: {error}"
    if "missing" in answer:
        return False, str(answer["missing"])
    told = answer["done"]
    if not asked.strict:
        return True, "limits, no new privileges, capabilities dropped"
    if asked.allow_subprocess:
        return True, f"in a namespace of their own, {told['bound']}"
    return True, told.get("namespaces", f"Landlock {told['landlock']}; {told['seccomp']}; nice {asked.niceness}")
