"""A model that takes what it can, for a while: processors, memory, threads, processes, sessions, room in the log and on
disk."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
import threading
import time
from typing import Any


def abuse(how: str, seconds: float, size: int = 0) -> dict[str, Any]:
    until = time.monotonic() + seconds
    if how == "burn":
        threads = [threading.Thread(target=_burn, args=(until,)) for _ in range(size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    while time.monotonic() < until:
        if how == "log":
            print("x" * 1000)
            print("y" * 1000, file=sys.stderr)
        elif how == "fill":
            bytearray(size)
        elif how == "threads":
            waiting = [threading.Thread(target=time.sleep, args=(0.01,)) for _ in range(size)]
            for thread in waiting:
                thread.start()
            for thread in waiting:
                thread.join()
        elif how == "processes":
            with contextlib.suppress(OSError):  # there are as many as there may be
                while os.fork():
                    pass
                _burn(until)
                os._exit(0)
        elif how == "sessions":
            for _ in range(size):
                if not os.fork():
                    os.setsid()
                    _burn(until)
                    os._exit(0)
            for _ in range(size):
                os.wait()
        elif how == "write":
            with open(os.path.join(tempfile.gettempdir(), "file"), "wb") as file:
                file.write(bytes(size))
    return {"done": how}


def _burn(until: float) -> None:
    data = bytearray(1 << 20)
    while time.monotonic() < until:
        hashlib.sha256(data).digest()  # lets go of the interpreter's lock, so that threads take a processor each
