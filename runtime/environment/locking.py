"""Lock files: which versions a resolver chooses today, written down so that the same come tomorrow.

The file is a ``pylock.toml`` (PEP 751), which uv and pip read, with the hash of each package.
"""

from __future__ import annotations

import os
import tempfile
from collections import deque
from pathlib import Path

from isopod.ipc.errors import EnvironmentBuildError, SpecError

from .events import Reporter
from .installers.uv import binary, source_options, write_requirements
from .prepared import plan_of
from .process import run
from .requirements import OURS
from .sources import resolver_environment
from .spec import Env
from .urls import redact

_SHOWN_LINES = 40


def lock(env: Env) -> str:
    """Resolve an environment without building it, and return the text of its ``pylock.toml``.

    numpy, which every worker needs, is among the packages. Raises ``SpecError`` for an interpreter that is not there
    and for an ``env`` that has a lock, or exists; ``EnvironmentBuildError``, with the resolver's own words, where there
    is no solution.
    """
    if env.lock is not None or env.location is not None:
        raise SpecError(f"{env!r} has its versions already: give requirements to lock")
    plan = plan_of(env, Reporter(None))
    with tempfile.TemporaryDirectory(prefix="isopod-lock-") as folder:
        answer = Path(folder, "pylock.toml")
        command = [binary(), "pip", "compile", "--quiet", "--no-header", "--format", "pylock.toml"]
        command += ["--python", str(plan.interpreter.executable), *source_options(plan)]
        file, options = write_requirements(plan, Path(folder))
        command += ["--output-file", str(answer), *options, file]
        said: deque[str] = deque(maxlen=_SHOWN_LINES)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            ended = run(command, environment=resolver_environment(plan.sources), lock=descriptor, line=said.append)
        finally:
            os.close(descriptor)
        if ended.code != 0:
            lines = [f"there is no set of packages for {plan.interpreter}", *(f"  {text}" for text in plan.wish)]
            if plan.wanted.added:
                lines.append(f"  of these, {OURS!r} was added by isopod: the worker needs it everywhere")
            raise EnvironmentBuildError(redact("\n".join([*lines, *(f"  {line}" for line in said)])))
        return redact(answer.read_text(encoding="utf-8"))
