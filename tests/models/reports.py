"""What a worker's process looks like from within."""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later.

import os
import signal
import sys


def modules():
    return {"modules": sorted(sys.modules), "path": list(sys.path), "flags": [sys.flags.isolated, sys.flags.no_site]}


def surroundings():
    return {
        "argv": list(sys.argv),
        "environ": dict(os.environ),
        "fds": [os.readlink("/proc/self/fd/" + name) for name in os.listdir("/proc/self/fd") if _is_open(name)],
        "executable": sys.executable,
        "prefix": sys.prefix,
        "group": os.getpgrp() == os.getpid(),
        "session": os.getsid(0) == os.getpid(),
        "sigint": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
        "version": list(sys.version_info[:2]),
        "name": open("/proc/self/comm").read().strip(),
    }


def _is_open(name):
    try:
        os.readlink("/proc/self/fd/" + name)
    except OSError:
        return False
    return True
