"""Pythons that this machine lacks, fetched by uv into its own folder, where ``discovery`` looks. Only when asked.

uv takes them from python-build-standalone; ``UV_PYTHON_INSTALL_MIRROR`` and ``UV_PYTHON_DOWNLOADS_JSON_URL`` lead to a
copy of it, and proxies and certificates are those that packages come by.
"""

from __future__ import annotations

import os
from collections import deque

from isopod.ipc.errors import EnvironmentBuildError

from . import pipconfig
from .events import Reporter
from .installers import uv
from .interpreter import Interpreter, MissingPython, find
from .process import run
from .sources import merge, resolver_environment
from .spec import Env
from .urls import redact
from .versions import PythonRequest

SWITCH = "ISOPOD_PYTHON_DOWNLOADS"
_SHOWN_LINES = 20


def find_or_download(request: str | None, *, wanted: bool | None, reporter: Reporter) -> Interpreter:
    """``find``, and where it finds none and a download is ``wanted``, that and again. None: as ``SWITCH`` says.

    Raises ``SpecError`` as ``find`` does, and ``EnvironmentBuildError`` with uv's own words where it gets none.
    """
    try:
        return find(request)
    except MissingPython:
        if not (wanted if wanted is not None else os.environ.get(SWITCH, "") not in ("", "0")):
            raise
    _download(PythonRequest.parse(request), reporter)
    return find(request)


def _download(wanted: PythonRequest, reporter: Reporter) -> None:
    reporter.tell("python", f"looking for Python {wanted.text}")
    said: deque[str] = deque(maxlen=_SHOWN_LINES)

    def line(text: str) -> None:
        said.append(redact(text))
        if text.strip():
            reporter.tell("python", redact(text.strip()))

    # "--no-bin": nothing is put on the user's PATH
    command = [uv.binary(), "python", "install", "--no-bin", *([wanted.text] if wanted.text else [])]
    environment = {**resolver_environment(merge(Env(), pipconfig.read())), "UV_PYTHON_DOWNLOADS": "manual"}
    ended = run(command, environment=environment, lock=None, line=line)
    if ended.code != 0:
        lines = [f"Python {wanted.text} is not on this machine, and could not be downloaded:", *said]
        lines.append("UV_PYTHON_INSTALL_MIRROR names another place to take it from; or install it in another way")
        raise EnvironmentBuildError("\n  ".join(lines))
