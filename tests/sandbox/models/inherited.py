"""What a worker runs with, and what all that it starts runs with."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from typing import Any


def priority(forks: bool) -> dict[str, int]:
    return _of_all(lambda: os.getpriority(os.PRIO_PROCESS, 0), forks)  # of this thread


def processors(forks: bool) -> dict[str, list[int]]:
    return _of_all(lambda: sorted(os.sched_getaffinity(0)), forks)  # of this thread


def _of_all(mine: Callable[[], Any], forks: bool) -> dict[str, Any]:
    found = {"worker": mine()}
    thread = threading.Thread(target=lambda: found.update(thread=mine()))
    thread.start()
    thread.join()
    if forks:
        read, write = os.pipe()
        if os.fork() == 0:
            os.setsid()
            os.write(write, json.dumps(mine()).encode())
            os._exit(0)
        found["process"] = json.loads(os.read(read, 1000))
        os.wait()
    return found
