"""Applications that are killed in mid-traffic: nothing of them may stay.

Each is a small soak in a process of its own, with a folder of its own for temporary files. It is stopped, so that its
children can be counted, killed, and then looked for.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from stress.flatness import names_in_shared_memory
from stress.ledger import Ledger

_ROOT = Path(__file__).resolve().parent.parent.parent
_GUARD = 10.0  # seconds after which a worker counts as left behind
_GRACE = 2.0  # seconds for names that other processes may just be using
_LONGEST = 2.5  # seconds that an application lives, at most


class ApplicationKills:
    """Starts and kills applications, one after the other, while the ledger does not rest."""

    def __init__(self, ledger: Ledger, pause: float, seed: object) -> None:
        self.killed = 0
        self.orphans = 0  # workers that were alive when their application was killed
        self.slowest = 0.0  # seconds from the kill of an application to the end of its last worker
        self.running = threading.Lock()  # held while there is one
        self._ledger = ledger
        self._pause = pause
        self._random = random.Random(f"{seed}/applications")
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(self._random.expovariate(1 / self._pause)):
            with self.running:
                if not self._ledger.resting:
                    self.kill_one()

    def stop(self) -> None:
        self._over.set()

    def kill_one(self) -> None:
        names = names_in_shared_memory()
        with tempfile.TemporaryDirectory(prefix="isopod-stress-") as folder:
            victim = subprocess.Popen(
                [sys.executable, "-m", "stress.victim", str(self._random.random())],
                cwd=_ROOT,
                env={**os.environ, "PYTHONPATH": str(_ROOT / "tests"), "TMPDIR": folder},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,  # a Ctrl-C is not meant for it
            )
            try:
                victim.wait(self._random.uniform(0.2, _LONGEST))
            except subprocess.TimeoutExpired:
                self._kill(victim)
            else:
                said = victim.stderr.read().decode(errors="replace") if victim.stderr else ""
                self._ledger.violate(f"an application ended by itself, with {victim.returncode}: {said[-2000:]}")
            if victim.stderr is not None:
                victim.stderr.close()
            if left := os.listdir(folder):
                self._ledger.violate(f"a killed application left temporary files: {left}")
        until = time.monotonic() + _GRACE
        while (left_names := names_in_shared_memory() - names) and time.monotonic() < until:
            time.sleep(0.05)  # other processes may just be making one
        if left_names:
            self._ledger.violate(f"a killed application left names in /dev/shm: {sorted(left_names)}")

    def _kill(self, victim: subprocess.Popen[bytes]) -> None:
        victim.send_signal(signal.SIGSTOP)
        while psutil.Process(victim.pid).status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE):
            os.sched_yield()
        with contextlib.ExitStack() as stack:
            orphans: dict[int, int] = {}
            for child in psutil.Process(victim.pid).children(recursive=True):
                with contextlib.suppress(ProcessLookupError):
                    descriptor = os.pidfd_open(child.pid)
                    stack.callback(os.close, descriptor)
                    orphans[descriptor] = child.pid
            victim.kill()
            began = time.monotonic()
            victim.wait()
            self.killed += 1
            self.orphans += len(orphans)
            while orphans:
                ended, _, _ = select.select(list(orphans), [], [], max(0.0, began + _GUARD - time.monotonic()))
                if not ended:
                    break
                for descriptor in ended:
                    del orphans[descriptor]
            self.slowest = max(self.slowest, time.monotonic() - began)
            if orphans:
                self._ledger.violate(f"{len(orphans)} workers outlived their application by {_GUARD:g} s")
                for descriptor in orphans:
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
