"""Lock files: which versions a resolver chooses today, written down so that the same come tomorrow.

The file is a ``pylock.toml`` (PEP 751), which uv and pip read, with the hash of each package.
"""

from __future__ import annotations

import os
import tempfile
from collections import deque
from pathlib import Path

from isopod.ipc.errors import EnvironmentBuildError

from . import pipconfig, requirements
from .interpreter import find
from .prepared import uv_binary
from .process import run
from .sources import merge, resolver_environment
from .spec import Env
from .urls import redact

_SHOWN_LINES = 40


def lock(env: Env) -> str:
    """Resolve an environment without building it, and return the text of its ``pylock.toml``.

    numpy, which every worker needs, is among the packages. Raises ``SpecError`` for an interpreter that is not there,
    ``EnvironmentBuildError`` with the resolver's own words where there is no solution.
    """
    interpreter, wanted, sources = (
        find(env.python),
        requirements.complete(env.requirements),
        merge(env, pipconfig.read()),
    )
    with tempfile.TemporaryDirectory(prefix="isopod-lock-") as folder:
        asked, answer = Path(folder, "requirements.txt"), Path(folder, "pylock.toml")
        # in a file, for a URL among them may hold a password, and anybody can read a command line
        asked.touch(0o600)
        asked.write_text("\n".join(wanted.requirements) + "\n", encoding="utf-8")
        command = [uv_binary(), "pip", "compile", "--quiet", "--no-header", "--format", "pylock.toml"]
        command += ["--python", str(interpreter.executable), "--only-binary", ":all:"]
        for package in env.from_source:
            command += ["--no-binary", package]
        command += ["--no-index"] if sources.no_index else []
        command += ["--output-file", str(answer), str(asked)]
        said: deque[str] = deque(maxlen=_SHOWN_LINES)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            ended = run(command, environment=resolver_environment(sources), lock=descriptor, line=said.append)
        finally:
            os.close(descriptor)
        if ended.code != 0:
            lines = [f"there is no set of packages for {interpreter}", f"  wanted: {', '.join(wanted.requirements)}"]
            if wanted.added:
                lines.append(f"  of these, {requirements.OURS!r} was added by isopod: the worker needs it everywhere")
            raise EnvironmentBuildError(redact("\n".join([*lines, *(f"  {line}" for line in said)])))
        return redact(answer.read_text(encoding="utf-8"))
