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


def trial(asked: Sandbox) -> tuple[bool, str]:
    """Whether a sandbox can be had, and what it would be made of or what is missing. Takes a tenth of a second."""
    here = find().executable
    script = folder_of("opeworker") / "trial.py"
    command = [str(here), "-I", "-S", "-B", str(script), str(folder_of("ipc")), json.dumps(asked.order(1 << 30))]
    variables = worker_variables(os.environ, {}, asked.profile)
    try:
        done = subprocess.run(command, capture_output=True, env=variables, timeout=_SECONDS, check=False)
        answer: dict[str, Any] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return False, f"it could not be tried: {error}"
    if "missing" in answer:
        return False, str(answer["missing"])
    told = answer["done"]
    return True, "; ".join([f"Landlock {told['landlock']}", told["seccomp"]]) if asked.strict else "as asked"
