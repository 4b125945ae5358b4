"""A model that stays in its call until it is killed, if somebody waits for that in the lobby, a named pipe."""

from __future__ import annotations

import os
import time


def echo(lobby: str = "", value: int = 0) -> dict[str, int]:
    if lobby and _is_met(lobby):
        time.sleep(3600)
    return {"value": value, "pid": os.getpid()}


def _is_met(lobby: str) -> bool:
    """Say that it is there; whether anybody hears it."""
    try:
        pipe = os.open(lobby, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return False  # nobody reads: the call goes on as any other
    try:
        return os.write(pipe, b"!") == 1
    finally:
        os.close(pipe)
