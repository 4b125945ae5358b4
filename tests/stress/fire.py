"""Harm at random: workers that are killed, that stop for a while, and a model that is loaded and closed in mid-call."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Sequence

import isopod
from stress import subjects
from stress.callers import Promised, Waiting
from stress.ledger import Ledger
from stress.subjects import Subject

_WAYS = [signal.SIGKILL] * 6 + [signal.SIGSEGV, signal.SIGTERM, signal.SIGSTOP, signal.SIGSTOP]
_LONGEST_STOP = 1.5  # seconds


class Killer:
    """Kills a worker every ``pause`` seconds, about, while the ledger does not rest."""

    def __init__(self, ledger: Ledger, targets: Sequence[Subject], pause: float, seed: object) -> None:
        self.kills: Counter[str] = Counter()
        self._ledger = ledger
        self.targets = list(targets)
        self._pause = pause
        self._random = random.Random(f"{seed}/killer")
        self.striking = threading.Lock()  # held until a worker that was stopped goes on
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(self._random.expovariate(1 / self._pause)):
            with self.striking:
                if not self._ledger.resting:
                    self._strike(self._random.choice(self.targets), self._random.choice(_WAYS))

    def stop(self) -> None:
        self._over.set()

    def _strike(self, target: Subject, way: signal.Signals) -> None:
        pid = target.model.health.pid
        if pid is None:
            return
        try:
            worker = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        # It ends in the middle of whatever it is at; the descriptor makes sure that it is nobody else.
        with contextlib.suppress(ProcessLookupError):
            if target.model.health.pid == pid:
                if way != signal.SIGSTOP:
                    self._ledger.kill(target.name, pid)
                signal.pidfd_send_signal(worker, way)
                self.kills[way.name] += 1
                if way == signal.SIGSTOP:
                    self._over.wait(self._random.uniform(0.0, _LONGEST_STOP))
                    signal.pidfd_send_signal(worker, signal.SIGCONT)
        os.close(worker)


class Reloader:
    """Loads a model, has two threads call it, and closes it in the middle of that; now and then it is just let go."""

    def __init__(self, ledger: Ledger, largest: int, seed: object) -> None:
        self.loads = 0
        self.callers: list[Waiting | Promised] = []
        self._ledger = ledger
        self._largest = largest
        self._seed = seed
        self._random = random.Random(f"{seed}/reloader")

    def run(self) -> None:
        while self._ledger.wait():
            if not self._ledger.resting:
                self._round()

    def _round(self) -> None:
        self.loads += 1
        try:
            guest = subjects.load("guest")
        except isopod.IsopodError as error:
            self._ledger.violate(f"load {self.loads} of the guest failed: {error}")
            return
        made = [
            kind(self._ledger, [guest], self._largest, f"{self._seed}/{self.loads}") for kind in (Waiting, Promised)
        ]
        self.callers += made
        threads = [threading.Thread(target=_until_closed, args=(caller,), name="soak-guest") for caller in made]
        for thread in threads:
            thread.start()
        until = time.monotonic() + self._random.uniform(0.05, 1.0)
        while time.monotonic() < until and not self._ledger.resting:
            time.sleep(0.01)  # of its life: what ends it early, a rest, is looked for
        if self._random.random() > 0.2 and not self._ledger.resting:
            guest.model.close(self._random.choice((0.0, 0.01, 5.0)))
        for caller in made:
            caller.subjects = ()
        for thread in threads:
            thread.join()


def _until_closed(caller: Waiting | Promised) -> None:
    while caller.subjects and caller.subjects[0].model.health.state != "closed" and caller.turn():
        pass
    caller.clear()
