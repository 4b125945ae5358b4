"""A model that stays in its call until it is killed, and says through a named pipe that it is there."""

from __future__ import annotations

import time


def echo(lobby: str = "", value: int = 0) -> int:
    if lobby:
        with open(lobby, "wb") as pipe:
            pipe.write(b"!")
        time.sleep(3600)
    return value
