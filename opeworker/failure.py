"""An exception as a record that crosses: text only. It is never pickled, and never rebuilt on the other side."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

_HERE = os.path.dirname(os.path.abspath(__file__))
_MAX_MESSAGE = 4_000
_MAX_TRACEBACK = 24_000


class BadValue(Exception):
    """(the error, "input" or "output"): something that the model got or gave is no value that it can have or send."""


def describe(error: BaseException, culprit: str = "model") -> dict[str, Any]:
    """Type, message and formatted traceback (cause chain and notes included), without our own frames.

    ``culprit``: "model" raised it, or what it returned is no "output", or an "input" cannot be had on this side.
    """
    frames = error.__traceback__
    while frames is not None and _is_ours(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    kind = type(error)
    try:
        message = str(error)
        text = "".join(traceback.format_exception(kind, error, frames))
    except Exception as second:  # becomes the message: an exception whose __str__ raises must still arrive
        message = f"<its text cannot be had: {type(second).__name__!r}>"
        text = f"{kind.__name__}: {message}\n"
    module = kind.__module__
    return {
        "type": kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}",
        "message": _shorten(message, _MAX_MESSAGE),
        "traceback": _shorten(text, _MAX_TRACEBACK),
        "missing": _missing_module(error),
        "culprit": culprit,
    }


def brief(failure: dict[str, Any]) -> dict[str, Any]:
    """The same, short enough for a ring's slot: where there is no room for a longer record."""
    message = failure["message"].encode()[:600].decode("utf-8", "ignore")
    return {
        **failure,
        "type": failure["type"].encode()[:80].decode("utf-8", "ignore"),
        "message": message,
        "traceback": "",
    }


def _missing_module(error: BaseException) -> str:
    return (error.name or "") if isinstance(error, ModuleNotFoundError) else ""


def _is_ours(filename: str) -> bool:
    return filename.startswith((_HERE, "<frozen importlib"))


def _shorten(text: str, limit: int) -> str:
    if len(text) > limit:
        half = limit // 2
        text = f"{text[:half]}\n... {len(text) - limit} characters left out ...\n{text[-half:]}"
    # A lone surrogate (an undecodable file name, say) would not survive the wire's UTF-8.
    return text.encode("utf-8", "backslashreplace").decode()


def excepthook_lines(error: BaseException) -> None:
    """Print an error of our own on stderr, where the parent finds it in the crash report."""
    traceback.print_exception(type(error), error, error.__traceback__, file=sys.__stderr__)
