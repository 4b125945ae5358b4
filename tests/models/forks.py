"""A model that leaves processes behind: a fork that sleeps, and a program that it started."""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later.

import os
import subprocess
import sys
import time


def fork():
    child = os.fork()
    if child == 0:
        time.sleep(3600)
        os._exit(0)
    program = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(3600)"])
    return {"pids": [child, program.pid]}
